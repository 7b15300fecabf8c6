#!/usr/bin/env bash
# What the examples for Node.js need, for the tests that run them: Node.js and npm, and examples/node/node_modules as locked.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
STEP_NAME=node

EXAMPLE="$REPO_ROOT/examples/node"
# Written last: what node_modules was made from. An interrupted or outdated one does not carry the right text.
STAMP="$EXAMPLE/node_modules/.complete"
# As package.json says ("engines").
OLDEST=20

has() { command -v "$1" >/dev/null 2>&1; }

major() { node --version | sed 's/^v\([0-9]*\).*/\1/'; }

is_complete() { [ "$(cat "$STAMP" 2>/dev/null)" = "$(hash_of examples/node/package.json examples/node/package-lock.json)" ]; }

install_packages() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get -q update
    apt-get install -qy --no-install-recommends -o DPkg::Lock::Timeout=120 nodejs npm
}

# Exactly what the lock file says, every package checked against its hash; no package runs a script of its own.
install_modules() {
    npm ci --prefix "$EXAMPLE" --ignore-scripts --no-audit --no-fund
    hash_of examples/node/package.json examples/node/package-lock.json >"$STAMP"
}

main() {
    take_lock node
    if ! has node || ! has npm; then
        is_debian && is_root || die "$EXIT_UNREACHABLE" "Node.js or npm is missing, and only root on Debian installs them here;" \
            "install Node.js $OLDEST or newer with npm, then run it again"
        run_shown "installing nodejs npm" "$LOG_ROOT/node-apt.log" bash "$0" work install_packages ||
            die "$EXIT_UNREACHABLE" "apt-get could not install nodejs and npm (log $LOG_ROOT/node-apt.log)"
    fi
    [ "$(major)" -ge "$OLDEST" ] ||
        die "$EXIT_UNREACHABLE" "Node.js is $(node --version), the examples need $OLDEST or newer; put one first on PATH"
    if is_complete; then
        say "$(node --version) with the locked packages in examples/node"
    else
        run_shown "installing locked packages into examples/node" "$LOG_ROOT/node.log" bash "$0" work install_modules ||
            die "$EXIT_UNREACHABLE" "the packages of examples/node/package-lock.json could not be installed (log $LOG_ROOT/node.log);" \
                "check the connection to the package registry, then run it again"
        say "$(node --version) with the locked packages in examples/node (installed)"
    fi
    drop_lock
}

case "${1:-}" in
work) "$2" ;; # in a shell of its own: "set -e" does not hold inside "... ||"
*) handle_interrupts && main ;;
esac
