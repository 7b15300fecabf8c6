#!/usr/bin/env bash
# A reachable Docker engine: the one that DOCKER_HOST or the docker context names, else a local one, started when it is down.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
STEP_NAME=engine

LOCAL_SOCKET=unix:///var/run/docker.sock
START_TIMEOUT_SECONDS=60
ENGINE_LOG="$LOG_ROOT/dockerd.log"

endpoint() {
    local found="${DOCKER_HOST:-}"
    [ -n "$found" ] || found="$(context_endpoint)"
    printf '%s' "${found:-$LOCAL_SOCKET}"
}

# probe: prints the engine's version, or the client's complaint with status 1.
probe() { timeout -k 1 10 docker version --format '{{.Server.Version}}' 2>&1; }

report() {
    local version="$1" how="$2" running
    running="$(docker ps --quiet | wc -l)"
    say "Docker $version at $(endpoint)$how, $running containers running"
}

# processes NAME: ids of living processes called NAME; one that ended and was not collected yet is none.
processes() {
    local pid
    for pid in $(pgrep -x "$1" || true); do
        case "$(sed 's/^.*) //' "/proc/$pid/stat" 2>/dev/null)" in "" | Z*) ;; *) printf '%s\n' "$pid" ;; esac
    done
}

# The local engine's own process: other engines may run beside it, with sockets and folders of their own.
engine_process() { processes dockerd | grep -xF -- "$(cat /var/run/docker.pid 2>/dev/null)" || true; }

# remove_stale FILE NAME: removes a pid file unless the process that it names lives and is NAME.
remove_stale() {
    if [ -e "$1" ] && ! processes "$2" | grep -qxF -- "$(cat "$1")"; then rm -f "$1"; fi
}

# An engine that was killed leaves pid files and sockets behind, and a number in them may belong to someone else by now.
remove_leftovers() {
    remove_stale /var/run/docker.pid dockerd
    remove_stale /var/run/docker/containerd/containerd.pid containerd
    rm -f /var/run/docker.sock /var/run/docker/metrics.sock
    if [ -z "$(processes containerd)" ]; then
        rm -f /var/run/docker/containerd/containerd.sock /var/run/docker/containerd/containerd.sock.ttrpc \
            /var/run/docker/containerd/containerd-debug.sock
    fi
}

rotate_log() {
    mkdir -p "$LOG_ROOT"
    if [ -f "$ENGINE_LOG" ] && [ "$(stat -c %s "$ENGINE_LOG")" -gt 10000000 ]; then mv -f "$ENGINE_LOG" "$ENGINE_LOG.old"; fi
}

start_local() {
    # One that is just starting, or stuck: a second one would not help.
    if [ -n "$(engine_process)" ]; then return; fi
    if [ -d /run/systemd/system ] && systemctl cat docker.service >/dev/null 2>&1; then
        systemctl start docker.service || true
        return
    fi
    remove_leftovers
    rotate_log
    # A session of its own, so that the engine outlives this shell; no lock and no terminal is passed on to it.
    setsid --fork dockerd >>"$ENGINE_LOG" 2>&1 </dev/null {LOCK_FD}>&-
}

# await_engine: until the engine answers or START_TIMEOUT_SECONDS are over; ends early when the engine dies at once.
await_engine() {
    local deadline=$((SECONDS + START_TIMEOUT_SECONDS)) started=$SECONDS shown=$SECONDS answer="" seen=0
    while [ "$SECONDS" -lt "$deadline" ]; do
        if answer="$(probe)"; then
            printf '%s' "$answer"
            return 0
        fi
        if [ -n "$(engine_process)" ]; then
            seen=1
        elif [ "$seen" -eq 1 ] || [ $((SECONDS - started)) -gt 5 ]; then
            break
        fi
        if [ $((SECONDS - shown)) -ge 5 ]; then
            shown=$SECONDS
            say "waiting for the engine to answer ... $((SECONDS - started)) s" >&2
        fi
        sleep 0.2
    done
    printf '%s' "$answer"
    return 1
}

main() {
    local answer where origin="the docker context"
    command -v docker >/dev/null 2>&1 || die "$EXIT_UNREACHABLE" "there is no 'docker' command;" \
        "install the Docker client and engine (Debian: apt-get install docker.io) and run make setup again"
    where="$(endpoint)"
    if answer="$(probe)"; then
        report "$answer" ""
        return
    fi
    case "$answer" in
    *[Pp]ermission\ denied* | *permission\ to\ access*)
        die "$EXIT_UNREACHABLE" "the Docker engine at $where does not permit this user ($(id -un)) to use it;" \
            "add the user to the group that owns the socket (usermod -aG docker $(id -un), then log in again) or run as root"
        ;;
    esac
    if [ "$where" != "$LOCAL_SOCKET" ] && [ "$where" != unix:///run/docker.sock ]; then
        [ -z "${DOCKER_HOST:-}" ] || origin=DOCKER_HOST
        die "$EXIT_UNREACHABLE" "the Docker engine at $where (named by $origin) does not answer: ${answer##*$'\n'};" \
            "start it, or name another one (unset DOCKER_HOST, docker context use default)"
    fi
    is_root || die "$EXIT_UNREACHABLE" "the Docker engine at $where is not running and only root can start it;" \
        "start it (systemctl start docker, or Docker Desktop) and run make setup again"
    command -v dockerd >/dev/null 2>&1 || die "$EXIT_UNREACHABLE" "the Docker engine at $where is not running and dockerd is not" \
        "installed; install an engine (Debian: apt-get install docker.io) or set DOCKER_HOST to a running one"
    take_lock engine
    if answer="$(probe)"; then
        report "$answer" ""
        return
    fi
    if [ -n "$(engine_process)" ]; then say "process $(engine_process) does not answer yet"; fi
    start_local
    if ! answer="$(await_engine)"; then
        if [ -n "$(engine_process)" ]; then
            die "$EXIT_UNREACHABLE" "the Docker engine (process $(engine_process)) runs but did not answer for" \
                "$START_TIMEOUT_SECONDS s; end it (kill -9) and run make setup again, which starts it anew"
        fi
        [ -f "$ENGINE_LOG" ] && tail -n 15 "$ENGINE_LOG" | cut -c1-200 | sed 's/^/    /' >&2
        die "$EXIT_UNREACHABLE" "the Docker engine was started but ended at once or does not answer:" \
            "${answer##*$'\n'}; see $ENGINE_LOG"
    fi
    drop_lock
    report "$answer" " (started, log $ENGINE_LOG)"
}

handle_interrupts
main
