#!/usr/bin/env bash
# Prints the settings that env.sh takes over, as shell commands; makes the passphrase and the folder of the state when missing.
# A process of its own, so that no other variable of ours gets into the user's shell.
set -euo pipefail
REPO_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." >/dev/null && pwd)"
. "$REPO_ROOT/toolchain/paths.sh"

set_variable() { printf 'export %s=%s\n' "$1" "${2@Q}"; }

# in_front DIR: PATH with DIR first; a second `source env.sh` does not make it longer.
in_front() {
    case ":$PATH:" in
    *":$1:"*) ;;
    *) PATH="$1:$PATH" ;;
    esac
}

# make_passphrase FILE: complete and private from its first moment; of two shells at the same time, one wins for both.
make_passphrase() {
    umask 077
    mkdir -p "$(dirname "$1")"
    head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n' >"$1.$$"
    ln "$1.$$" "$1" 2>/dev/null || true
    rm -f "$1.$$"
}

if [ -d "$TOOLCHAIN_BIN" ]; then in_front "$TOOLCHAIN_BIN"; fi
in_front "$REPO_ROOT/.venv/bin"
set_variable PATH "$PATH"
set_variable PULUMI_SKIP_UPDATE_CHECK true

# State in local files, unless another backend is named.
if [ -z "${PULUMI_BACKEND_URL:-}" ]; then
    (umask 077 && mkdir -p "$STATE_ROOT/pulumi")
    set_variable PULUMI_BACKEND_URL "file://$STATE_ROOT/pulumi"
fi
# A passphrase of this machine's own, unless one is given; an empty PULUMI_CONFIG_PASSPHRASE is one, too.
if [ -z "${PULUMI_CONFIG_PASSPHRASE+set}" ] && [ -z "${PULUMI_CONFIG_PASSPHRASE_FILE:-}" ]; then
    [ -s "$STATE_ROOT/passphrase" ] || make_passphrase "$STATE_ROOT/passphrase"
    set_variable PULUMI_CONFIG_PASSPHRASE_FILE "$STATE_ROOT/passphrase"
fi
# Python's Docker package and Pulumi's provider know DOCKER_HOST, but not the contexts of the docker command.
if [ -z "${DOCKER_HOST:-}" ] && command -v docker >/dev/null 2>&1; then
    endpoint="$(context_endpoint)"
    case "$endpoint" in
    "" | unix:///var/run/docker.sock) ;;
    *) set_variable DOCKER_HOST "$endpoint" ;;
    esac
fi
[ -f "$REPO_ROOT/.venv/.complete" ] || echo "env.sh: this checkout is not set up yet; run: make -C $REPO_ROOT setup" >&2
