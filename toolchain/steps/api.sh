#!/usr/bin/env bash
# What the tests of examples/api need: examples/api/.venv with exactly the packages of its requirements.txt.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
STEP_NAME=api

EXAMPLE="$REPO_ROOT/examples/api"
VENV="$EXAMPLE/.venv"
# Written last: what the environment was made from. An interrupted or outdated one does not carry the right text.
STAMP="$VENV/.complete"

wanted_stamp() { printf '%s %s\n' "$(hash_of examples/api/requirements.txt)" "$REPO_ROOT"; }

is_complete() { [ "$(cat "$STAMP" 2>/dev/null)" = "$(wanted_stamp)" ] && "$VENV/bin/python" -c '' 2>/dev/null; }

make_environment() {
    rm -rf "$VENV"
    "$REPO_ROOT/.venv/bin/python" -m venv "$VENV"
    "$VENV/bin/python" -m pip install --disable-pip-version-check --no-input --require-hashes \
        --requirement "$EXAMPLE/requirements.txt"
    wanted_stamp >"$STAMP"
}

main() {
    take_lock api
    if is_complete; then
        say "the locked packages in examples/api/.venv"
        return
    fi
    run_shown "installing locked packages into examples/api/.venv" "$LOG_ROOT/api.log" bash "$0" work ||
        die "$EXIT_UNREACHABLE" "the packages of examples/api/requirements.txt could not be installed (log $LOG_ROOT/api.log);" \
            "check the connection to the package index, then run it again"
    drop_lock
    say "the locked packages in examples/api/.venv (installed)"
}

case "${1:-}" in
work) make_environment ;; # in a shell of its own: "set -e" does not hold inside "... ||"
*) handle_interrupts && main ;;
esac
