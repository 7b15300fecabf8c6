#!/usr/bin/env bash
# Debian packages that the other steps need, installed only when what they bring is missing.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
STEP_NAME=packages

missing=()

# need PACKAGES TEST...: PACKAGES are missing when TEST fails.
need() {
    local packages="$1"
    shift
    # shellcheck disable=SC2206
    "$@" >/dev/null 2>&1 || missing+=($packages)
}

has() { command -v "$1"; }

has_python() {
    local name
    for name in "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
        [ -n "$name" ] && command -v "$name" && "$name" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' && return
    done
    [ -f "$REPO_ROOT/.venv/.complete" ]
}

# An engine somewhere else (DOCKER_HOST, another context) or one that answers already needs none of ours.
has_engine() { [ -n "${DOCKER_HOST:-}" ] || command -v dockerd || timeout 10 docker version; }

# Debian 13 and later keep the client in a package of its own.
client_package() { apt-cache show docker-cli 2>/dev/null | grep -q '^Package:' && echo docker-cli || echo docker.io; }

find_missing() {
    missing=()
    need ca-certificates test -s /etc/ssl/certs/ca-certificates.crt
    need "python3 python3-venv" has_python
    if ! has docker >/dev/null; then missing+=("$(client_package)"); fi
    need "docker.io iptables" has_engine
    need procps has pgrep
    need iproute2 has ip
    need debootstrap has debootstrap
    need curl has curl
    if [ "${#missing[@]}" -gt 0 ]; then mapfile -t missing < <(printf '%s\n' "${missing[@]}" | awk '!seen[$0]++'); fi
}

install_missing() {
    local options=(-qy --no-install-recommends -o DPkg::Lock::Timeout=120)
    export DEBIAN_FRONTEND=noninteractive
    apt-get -q update
    find_missing # the package names may depend on the lists
    apt-get install "${options[@]}" "${missing[@]}"
}

main() {
    find_missing
    if [ "${#missing[@]}" -eq 0 ]; then
        say "all there"
        return
    fi
    # Elsewhere each step finds out by itself whether it can do without, and says what it lacks.
    if ! is_debian; then
        say "not Debian; missing here and not installed: ${missing[*]}"
        return
    fi
    is_root || die "$EXIT_UNREACHABLE" "these Debian packages are missing and only root may install them; run:" \
        "sudo apt-get install --no-install-recommends ${missing[*]}"
    take_lock packages
    run_shown "installing ${missing[*]}" "$LOG_ROOT/apt.log" bash "$0" work ||
        die "$EXIT_UNREACHABLE" "apt-get could not install: ${missing[*]} (log $LOG_ROOT/apt.log)"
    drop_lock
    say "installed ${missing[*]}"
}

case "${1:-}" in
work) install_missing ;;
*) handle_interrupts && main ;;
esac
