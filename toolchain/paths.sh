# Where things outside the repository live, and which Docker engine is meant. Sourced by env.sh and the set-up steps, with REPO_ROOT set; plain sh.
# shellcheck shell=sh

CACHE_ROOT="${REDIS_TOPOLOGIES_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/redis-topologies}"
STATE_ROOT="${XDG_STATE_HOME:-${HOME:-/root}/.local/state}/redis-topologies"
# Pulumi, its language host and its Docker provider, when this machine has none in the right version: one folder per content of
# the folders that say how they are built.
TOOLCHAIN_ID="$(cd "$REPO_ROOT/toolchain" && LC_ALL=C find versions.env pulumi pulumi-language-python pulumi-resource-docker \
    -type f -exec sha256sum {} + | LC_ALL=C sort | sha256sum | cut -c1-16)"
TOOLCHAIN_ROOT="$CACHE_ROOT/toolchain-$TOOLCHAIN_ID"
TOOLCHAIN_BIN="$TOOLCHAIN_ROOT/bin"

# context_endpoint: the engine's address by the docker command's chosen context; nothing for the default one. The command itself is
# asked only when a context is chosen: it talks to the engine first and hangs with it.
context_endpoint() {
    chosen="${DOCKER_CONTEXT:-}"
    if [ -z "$chosen" ]; then
        chosen="$(sed -n 's/.*"currentContext" *: *"\([^"]*\)".*/\1/p' "${DOCKER_CONFIG:-${HOME:-/root}/.docker}/config.json" 2>/dev/null)" || true
    fi
    case "$chosen" in
    "" | default) ;;
    *) docker context inspect --format '{{.Endpoints.docker.Host}}' "$chosen" 2>/dev/null || true ;;
    esac
}
