# Makes this shell ready for plain `pulumi` and the scripts of this repository:   source env.sh
# Sets variables only; `make setup` installs what they point to. For bash and zsh; in plain sh, source it in the repository's folder.
# shellcheck shell=sh

if [ -n "${BASH_SOURCE:-}" ]; then
    _redis_topologies_env="${BASH_SOURCE}"
elif [ -n "${ZSH_VERSION:-}" ]; then
    eval '_redis_topologies_env="${(%):-%x}"'
else
    _redis_topologies_env="./env.sh"
fi
REPO_ROOT="$(cd "$(dirname "$_redis_topologies_env")" && pwd)"
. "$REPO_ROOT/toolchain/paths.sh"

# A second `source env.sh` does not make PATH longer.
_redis_topologies_path() {
    case ":$PATH:" in
    *":$1:"*) ;;
    *) PATH="$1:$PATH" ;;
    esac
}
if [ -d "$TOOLCHAIN_BIN" ]; then _redis_topologies_path "$TOOLCHAIN_BIN"; fi
_redis_topologies_path "$REPO_ROOT/.venv/bin"
export PATH

export PULUMI_SKIP_UPDATE_CHECK=true
# State in local files, unless another backend is named.
if [ -z "${PULUMI_BACKEND_URL:-}" ]; then
    (umask 077 && mkdir -p "$STATE_ROOT/pulumi")
    export PULUMI_BACKEND_URL="file://$STATE_ROOT/pulumi"
fi
# A passphrase of this machine's own, unless one is given. `set -C` and the link let one of two shells at the same time win.
if [ -z "${PULUMI_CONFIG_PASSPHRASE+set}" ] && [ -z "${PULUMI_CONFIG_PASSPHRASE_FILE:-}" ]; then
    if [ ! -s "$STATE_ROOT/passphrase" ]; then
        (
            umask 077
            mkdir -p "$STATE_ROOT"
            head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n' >"$STATE_ROOT/.passphrase.$$"
            ln "$STATE_ROOT/.passphrase.$$" "$STATE_ROOT/passphrase" 2>/dev/null || true
            rm -f "$STATE_ROOT/.passphrase.$$"
        )
    fi
    export PULUMI_CONFIG_PASSPHRASE_FILE="$STATE_ROOT/passphrase"
fi
# The Python SDK of Docker and Pulumi's provider know DOCKER_HOST but not the docker command's contexts.
if [ -z "${DOCKER_HOST:-}" ] && command -v docker >/dev/null 2>&1; then
    _redis_topologies_endpoint="$(docker context inspect --format '{{.Endpoints.docker.Host}}' 2>/dev/null || true)"
    case "$_redis_topologies_endpoint" in
    "" | unix:///var/run/docker.sock) ;;
    *) export DOCKER_HOST="$_redis_topologies_endpoint" ;;
    esac
fi

if [ ! -f "$REPO_ROOT/.venv/.complete" ]; then
    echo "env.sh: the environment is not complete yet; run: make -C $REPO_ROOT setup" >&2
fi
unset _redis_topologies_env _redis_topologies_endpoint
unset -f _redis_topologies_path
