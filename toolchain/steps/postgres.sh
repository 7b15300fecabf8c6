#!/usr/bin/env bash
# PostgreSQL from Debian, for the tests that have it as the origin of caches; run only when somebody asks for it.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
STEP_NAME=postgres

find_server() { ls /usr/lib/postgresql/*/bin/postgres 2>/dev/null | sort -V | tail -n 1; }

# Tests start servers of their own. The one that the package would make and start on its first installation is not wanted here.
SETTINGS=/etc/postgresql-common/createcluster.conf

install_packages() {
    export DEBIAN_FRONTEND=noninteractive
    if [ ! -e "$SETTINGS" ]; then
        install -d "$(dirname "$SETTINGS")"
        printf 'create_main_cluster = false\n' >"$SETTINGS"
    fi
    apt-get -q update
    apt-get install -qy --no-install-recommends -o DPkg::Lock::Timeout=120 -o Dpkg::Options::=--force-confold postgresql
}

main() {
    take_lock postgres
    if [ -z "$(find_server)" ]; then
        is_debian && is_root || die "$EXIT_UNREACHABLE" "PostgreSQL is missing, and only root on Debian installs it here;" \
            "install it so that /usr/lib/postgresql/VERSION/bin/postgres is there, then run it again"
        run_shown "installing postgresql" "$LOG_ROOT/postgres.log" bash "$0" work install_packages ||
            die "$EXIT_UNREACHABLE" "apt-get could not install postgresql (log $LOG_ROOT/postgres.log)"
    fi
    say "$("$(find_server)" --version)"
    drop_lock
}

case "${1:-}" in
work) "$2" ;; # in a shell of its own: "set -e" does not hold inside "... ||"
*) handle_interrupts && main ;;
esac
