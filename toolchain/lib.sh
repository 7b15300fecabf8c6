# Shared by the set-up steps: paths, messages, progress, locks, clean interruption. Sourced, never run.
# shellcheck shell=bash

REPO_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." >/dev/null && pwd)"
TOOLCHAIN_SOURCE="$REPO_ROOT/toolchain"
# shellcheck source=versions.env
. "$TOOLCHAIN_SOURCE/versions.env"
# shellcheck source=paths.sh
. "$TOOLCHAIN_SOURCE/paths.sh"

EXIT_BROKEN=30 EXIT_USAGE=64 EXIT_UNREACHABLE=69 EXIT_BUSY=75 EXIT_INTERRUPTED=130
# Sub-processes of a step read these.
export REPO_ROOT CACHE_ROOT STATE_ROOT EXIT_BROKEN EXIT_USAGE EXIT_UNREACHABLE EXIT_BUSY

LOG_ROOT="$STATE_ROOT/log"
STEP_NAME="setup"

# say TEXT: the one line in which a step tells what it found or did.
say() { printf '%-9s %s\n' "$STEP_NAME" "$*"; }

# die CODE TEXT: a user error; TEXT says what was found, why it cannot work and what to do.
die() {
    local code="$1"
    shift
    printf '%-9s error: %s\n' "$STEP_NAME" "$*" >&2
    exit "$code"
}

is_root() { [ "$(id -u)" -eq 0 ]; }

is_debian() { [ -r /etc/debian_version ] && command -v apt-get >/dev/null 2>&1; }

# hash_of FILE...: one sha256 over names and contents, the same wherever the checkout lies.
hash_of() { (cd "$REPO_ROOT" && printf '%s\n' "$@" | LC_ALL=C sort | xargs -d '\n' sha256sum | sha256sum | cut -c1-16); }

private_dir() { mkdir -p "$1" && chmod 700 "$1"; }

# Ends a command with the shell that waits for it, also when that is killed (Linux).
WITH_PARENT=(env)
if command -v setpriv >/dev/null 2>&1; then WITH_PARENT=(setpriv --pdeathsig TERM); fi

# The process group of the command that run_shown is waiting for, so that an interruption reaches all of it.
CURRENT_GROUP=""

stop_current() {
    local group="$CURRENT_GROUP" tries
    [ -n "$group" ] || return 0
    CURRENT_GROUP=""
    kill -TERM -- "-$group" 2>/dev/null || return 0
    # A step gets ten seconds to tidy up (its own EXIT trap), then it is ended.
    for tries in $(seq 100); do
        kill -0 -- "-$group" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -KILL -- "-$group" 2>/dev/null || true
}

on_interrupt() {
    trap '' INT TERM HUP
    printf '\n%-9s interrupted; what is complete is kept, run the same command again to continue\n' "$STEP_NAME" >&2
    stop_current
    exit "$EXIT_INTERRUPTED"
}

handle_interrupts() { trap on_interrupt INT TERM HUP; }

# run_shown PHASE LOG COMMAND...: runs COMMAND with its output in LOG; shows PHASE and the time that went by (a line that
# renews itself on a terminal, else one line every 15 s) and, when PROGRESS names a function, what that says about LOG.
# Returns COMMAND's status; on failure shows the end of LOG.
run_shown() {
    local phase="$1" log="$2" started status=0 elapsed shown=0 every=15 detail=""
    shift 2
    mkdir -p "$(dirname "$log")"
    started=$SECONDS
    # A process group of its own: an interruption of this shell is passed on to all of it, in order.
    set -m
    "${WITH_PARENT[@]}" "$@" >"$log" 2>&1 </dev/null &
    local child=$!
    set +m
    CURRENT_GROUP=$child
    [ -t 1 ] && every=1
    while kill -0 "$child" 2>/dev/null; do
        sleep 0.2
        elapsed=$((SECONDS - started))
        if [ "$elapsed" -ge 2 ] && { [ "$shown" -eq 0 ] || [ $((elapsed - shown)) -ge "$every" ]; }; then
            [ -z "${PROGRESS:-}" ] || detail=", $("$PROGRESS" "$log")"
            if [ -t 1 ]; then
                printf '\r\033[K%-9s %s ... %d s%s' "$STEP_NAME" "$phase" "$elapsed" "$detail"
            else
                say "$phase ... $elapsed s$detail"
            fi
            shown=$elapsed
        fi
    done
    wait "$child" || status=$?
    CURRENT_GROUP=""
    [ -t 1 ] && [ "$shown" -gt 0 ] && printf '\r\033[K'
    if [ "$status" -ne 0 ]; then
        printf '%-9s %s failed (status %d); the end of %s:\n' "$STEP_NAME" "$phase" "$status" "$log" >&2
        tail -n 20 "$log" | sed 's/^/    /' >&2
    fi
    return "$status"
}

# take_lock NAME: one process at a time does the work called NAME; a second one waits and says so. Held until drop_lock or exit.
# Long-lived children (the engine) must be started with LOCK_FD closed, else they would hold it.
take_lock() {
    mkdir -p "$CACHE_ROOT"
    exec {LOCK_FD}>"$CACHE_ROOT/$1.lock"
    if ! flock -n "$LOCK_FD"; then
        say "waiting: another process is at '$1' (lock $CACHE_ROOT/$1.lock)"
        flock -w 3600 "$LOCK_FD" || die "$EXIT_BUSY" "another process has held '$1' for an hour; end it or try later"
    fi
}

drop_lock() {
    exec {LOCK_FD}>&-
}

# free_megabytes DIR: room on the file system that DIR (or its nearest existing parent) lies on.
free_megabytes() {
    local dir="$1"
    while [ ! -d "$dir" ]; do dir="$(dirname "$dir")"; done
    df -Pm "$dir" | awk 'NR == 2 {print $4}'
}

# need_room DIR MEGABYTES WHAT: refuses before the work starts rather than in the middle of it.
need_room() {
    local free
    free="$(free_megabytes "$1")"
    [ "$free" -ge "$2" ] || die "$EXIT_UNREACHABLE" "only $free MB are free for $1, but $3 needs about $2 MB;" \
        "free some room, or set REDIS_TOPOLOGIES_CACHE to a folder on a larger disk"
}
