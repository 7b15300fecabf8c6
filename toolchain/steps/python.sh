#!/usr/bin/env bash
# The virtual environment .venv with exactly the packages of requirements.txt, and those that only the uses in applications/ need,
# every one checked against its hash.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
STEP_NAME=python

VENV="$REPO_ROOT/.venv"
# Written last: what the environment was made from. An interrupted or outdated one does not carry the right text.
STAMP="$VENV/.complete"

# find_python: the first interpreter that is 3.11 or newer and can make virtual environments; not that of .venv itself, which
# comes first in a shell that has read env.sh and is removed before it is made anew.
find_python() {
    local name path
    for name in "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
        while [ -n "$name" ] && read -r path; do
            case "$path" in "$VENV"/*) continue ;; esac
            if "$path" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
                printf '%s\n' "$path"
                return
            fi
        done < <(type -aP "$name")
    done
    return 1
}

# The place is part of it: scripts in an environment name their interpreter by its absolute path.
wanted_stamp() { printf '%s %s\n' "$(hash_of requirements.txt applications/requirements.txt)" "$REPO_ROOT"; }

is_complete() {
    [ "$(cat "$STAMP" 2>/dev/null)" = "$(wanted_stamp)" ] && "$VENV/bin/python" -c '' 2>/dev/null
}

describe() { "$VENV/bin/python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])'; }

# Makes the environment anew: leftovers of another set of packages never stay in it.
make_environment() {
    local python="$1"
    rm -rf "$VENV"
    "$python" -m venv "$VENV"
    "$VENV/bin/python" -m pip install --disable-pip-version-check --no-input --require-hashes \
        --requirement "$REPO_ROOT/requirements.txt" --requirement "$REPO_ROOT/applications/requirements.txt"
    # Scripts and Pulumi's program import the packages of this checkout by name.
    local site
    site="$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
    printf '%s\n' "$REPO_ROOT" >"$site/redis-topologies.pth"
    wanted_stamp >"$STAMP"
}

main() {
    local python
    if is_complete; then
        say "$(describe) with the locked packages in .venv"
        return
    fi
    python="$(find_python)" || die "$EXIT_UNREACHABLE" "no Python 3.11 or newer with its venv module was found;" \
        "install one (Debian: apt-get install python3 python3-venv) or name one: PYTHON=/path/to/python3 make setup"
    take_lock python
    is_complete || run_shown "installing locked packages into .venv" "$LOG_ROOT/python.log" bash "$0" work "$python" ||
        die "$EXIT_UNREACHABLE" "the packages of requirements.txt could not be installed (log $LOG_ROOT/python.log);" \
            "check the connection to the package index and the room on the disk, then run make setup again"
    drop_lock
    say "$(describe) with the locked packages in .venv (installed)"
}

case "${1:-}" in
work) make_environment "$2" ;; # in a shell of its own: "set -e" does not hold inside "... ||"
*) handle_interrupts && main ;;
esac
