#!/usr/bin/env bash
# The images that are asked for: present in the engine, else loaded from the cache, else built from Debian packages.
#
# usage: images.sh [--rebuild] [NAME|all ...]     NAME: a row of images/images.tsv; default redis-8.0
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
STEP_NAME=image

TABLE="$REPO_ROOT/images/images.tsv"
DEFINITION_LABEL=redis-topologies.definition
DEFAULT_IMAGES=(redis-8.0)

names() { awk -F '\t' '/^[^#]/ {print $1}' "$TABLE"; }

field() { awk -F '\t' -v name="$1" -v column="$2" '$1 == name {print $column}' "$TABLE"; }

# definition NAME: a hash of what decides the contents of that image.
definition() {
    local files=(images/build.sh)
    [ "$(field "$1" 5)" != - ] || files+=(requirements.txt)
    { (cd "$REPO_ROOT" && sha256sum "${files[@]}") && awk -F '\t' -v name="$1" '$1 == name' "$TABLE" && uname -m; } |
        sha256sum | cut -c1-16
}

image_definition() { docker image inspect --format "{{index .Config.Labels \"$DEFINITION_LABEL\"}}" "$1" 2>/dev/null || true; }

describe() { docker image inspect --format '{{index .Config.Labels "org.opencontainers.image.version"}}, {{.Size}}' "$1" |
    awk -F ', ' '{printf "%s, %d MB", $1, $2 / 1e6}'; }

# mirror LABEL: the archive with that label ("Debian", "Debian-Security") that this machine's package manager uses.
mirror() {
    apt-get indextargets --format '$(CREATED_BY)|$(LABEL)|$(COMPONENT)|$(SITE)' |
        awk -F '|' -v label="$1" '$1 == "Packages" && $2 == label && $3 == "main" {print $4; exit}'
}

find_mirrors() {
    MIRROR="${DEBIAN_MIRROR:-$(mirror Debian)}"
    if [ -z "$MIRROR" ]; then
        run_shown "reading the package lists" "$LOG_ROOT/apt.log" apt-get -q update || true
        MIRROR="$(mirror Debian)"
    fi
    [ -n "$MIRROR" ] || die "$EXIT_UNREACHABLE" "this machine's apt sources name no Debian archive to build the image from;" \
        "name one: DEBIAN_MIRROR=http://… make images"
    SECURITY_MIRROR="${DEBIAN_SECURITY_MIRROR:-$(mirror Debian-Security)}"
    SECURITY_MIRROR="${SECURITY_MIRROR:--}"
}

# remove_dead_work: folders of builds whose process is gone (kill -9, power cut).
remove_dead_work() {
    local folder
    for folder in "$CACHE_ROOT"/work/*; do
        if [ -d "$folder" ] && ! kill -0 "${folder##*.}" 2>/dev/null; then rm -rf --one-file-system "$folder"; fi
    done
}

explain_failure() {
    local name="$1" log="$2"
    if grep -q 'WRONG VERSION' "$log"; then
        die "$EXIT_UNREACHABLE" "$(sed -n 's/^WRONG VERSION: //p' "$log"); images/images.tsv names what was tested:" \
            "choose another suite there, or another engine"
    fi
    if grep -q -i 'no space left on device' "$log"; then
        die "$EXIT_UNREACHABLE" "the disk became full while $name was being made (folder $CACHE_ROOT: $(free_megabytes "$CACHE_ROOT") MB" \
            "free, engine's folder: $(free_megabytes "$(engine_folder)") MB); nothing half made was kept: free some room and run it again"
    fi
    die "$EXIT_UNREACHABLE" "the image $name could not be made from $MIRROR (log $log)"
}

# The engine's own folder, when the engine runs on this machine; else the cache stands for it.
engine_folder() {
    local folder
    folder="$(docker info --format '{{.DockerRootDir}}' 2>/dev/null || true)"
    if [ -d "$folder" ]; then printf '%s' "$folder"; else printf '%s' "$CACHE_ROOT"; fi
}

# Programs complain of a full disk in many ways: look at the disk while everything still lies there.
end_of_work() {
    local status=$?
    if [ "$status" -ne 0 ] && [ "$(free_megabytes "$1")" -lt 20 ]; then printf 'no space left on device\n'; fi
    rm -rf --one-file-system "$1"
    exit "$status"
}

# work NAME DEFINITION TARBALL WORK MIRROR SECURITY_MIRROR: builds, imports, keeps a copy. Runs in a shell of its own.
work() {
    local name="$1" definition="$2" tarball="$3" folder="$4" tag engine version builder="" changes=()
    # shellcheck disable=SC2064
    trap "end_of_work '$folder'" EXIT
    trap 'kill -KILL ${builder:-} 2>/dev/null; exit 130' INT TERM HUP
    tag="$(field "$name" 2)" engine="$(field "$name" 5)"
    mkdir -p "$folder"
    setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child --propagation private \
        bash "$REPO_ROOT/images/build.sh" "$name" "$folder" "$5" "$6" &
    builder=$!
    # Waited for, not in front: so that this shell answers a signal at once.
    wait "$builder"
    version="$(cat "$folder/version")"
    changes+=(--change "LABEL $DEFINITION_LABEL=$definition" --change "LABEL org.opencontainers.image.version=$version"
        --change "LABEL org.opencontainers.image.title=$tag" --change "ENV PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    if [ "$engine" != - ]; then
        changes+=(--change "LABEL redis-topologies.image=node" --change "LABEL redis-topologies.engine=$engine"
            --change "USER $engine" --change "WORKDIR /data" --change "CMD [\"$engine-server\"]")
    else
        changes+=(--change "LABEL redis-topologies.image=client" --change 'CMD ["python3"]')
    fi
    printf '== importing\n'
    tar -C "$folder/root" --numeric-owner --one-file-system -c . | docker import "${changes[@]}" - "$tag"
    rm -rf --one-file-system "$folder/root"
    # The copy serves another engine or a wiped one. Without room for it the image itself is still good.
    printf '== keeping a copy in the cache\n'
    mkdir -p "$(dirname "$tarball")"
    if docker save "$tag" | gzip -1 >"$folder/image.tar.gz"; then
        find "$(dirname "$tarball")" -name "$name-*.tar.gz" -delete
        mv "$folder/image.tar.gz" "$tarball"
    else
        printf 'no copy was kept\n'
    fi
}

load() { gzip -dc "$1" | docker load --quiet; }

provide() {
    local name="$1" tag definition tarball log folder how="there, made by another process"
    tag="$(field "$name" 2)"
    definition="$(definition "$name")"
    tarball="$CACHE_ROOT/images/$name-$definition.tar.gz"
    log="$LOG_ROOT/image-$name.log"
    if [ "$REBUILD" -eq 0 ] && [ "$(image_definition "$tag")" = "$definition" ]; then
        say "$tag is there ($(describe "$tag"))"
        return
    fi
    take_lock "image-$name"
    if [ "$REBUILD" -eq 0 ] && [ "$(image_definition "$tag")" != "$definition" ] && [ -f "$tarball" ]; then
        if run_shown "loading $tag from the cache" "$log" bash "$0" load "$tarball" && [ "$(image_definition "$tag")" = "$definition" ]; then
            say "$tag loaded from the cache ($(describe "$tag"))"
            drop_lock
            return
        fi
        rm -f "$tarball"
    fi
    if [ "$REBUILD" -eq 1 ] || [ "$(image_definition "$tag")" != "$definition" ]; then
        is_root && command -v debootstrap >/dev/null 2>&1 || die "$EXIT_UNREACHABLE" "$tag is not in this engine and building it needs" \
            "root and debootstrap (Debian); build it on such a machine and move it (docker save | docker load)," \
            "or name another image in the spec: engine.image"
        remove_dead_work
        need_room "$CACHE_ROOT" 1000 "building $tag"
        need_room "$(engine_folder)" 500 "importing $tag"
        find_mirrors
        folder="$CACHE_ROOT/work/$name.$$"
        mkdir -p "$CACHE_ROOT/work"
        run_shown "building $tag from Debian packages" "$log" bash "$0" work "$name" "$definition" "$tarball" "$folder" \
            "$MIRROR" "$SECURITY_MIRROR" || explain_failure "$name" "$log"
        how=built
    fi
    drop_lock
    say "$tag $how ($(describe "$tag"))"
}

main() {
    local wanted=() name
    REBUILD=0
    if [ "${1:-}" = --rebuild ]; then REBUILD=1 && shift; fi
    for name in "${@:-${DEFAULT_IMAGES[@]}}"; do
        if [ "$name" = all ]; then
            mapfile -t -O "${#wanted[@]}" wanted < <(names)
        elif names | grep -qxF -- "$name"; then
            wanted+=("$name")
        else
            die "$EXIT_USAGE" "there is no image '$name'; images/images.tsv has: $(names | paste -sd ' '), and 'all'"
        fi
    done
    docker version --format '{{.Server.Version}}' >/dev/null 2>&1 ||
        die "$EXIT_UNREACHABLE" "the Docker engine at ${DOCKER_HOST:-the address of the docker context} does not answer;" \
            "run make setup, or set DOCKER_HOST to one that runs"
    for name in "${wanted[@]}"; do provide "$name"; done
}

case "${1:-}" in
work) shift && work "$@" ;;
load) load "$2" ;;
*) handle_interrupts && main "$@" ;;
esac
