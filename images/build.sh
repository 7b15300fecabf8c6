#!/usr/bin/env bash
# Makes the root folder of one image from Debian packages. Nothing outside WORK is touched, no service is started.
#
# usage: build.sh NAME WORK MIRROR SECURITY_MIRROR
#
#   NAME             a row of images.tsv
#   WORK             an empty folder; WORK/root becomes the image's root, WORK/version its engine's version
#   MIRROR           Debian archive that this machine's package manager uses; SECURITY_MIRROR likewise, or "-"
#
# Run it in a mount and process namespace of its own (steps/images.sh does): whatever is mounted or running in the new root is
# gone with the namespace, also after kill -9.
set -euo pipefail

NAME="$1" WORK="$2" MIRROR="$3" SECURITY_MIRROR="$4"
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
ROOT="$WORK/root"
# The user id of the official images: data volumes stay readable when an image is exchanged for theirs.
SERVER_UID=999

IFS=$'\t' read -r _ _ SUITE SCRIPT ENGINE VERSION PACKAGES < <(awk -F '\t' -v name="$NAME" '$1 == name' "$HERE/images.tsv")

phase() { printf '== %s\n' "$*"; }

in_root() {
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive HOME=/root \
        ${http_proxy:+"http_proxy=$http_proxy"} ${https_proxy:+"https_proxy=$https_proxy"} chroot "$ROOT" "$@"
}

make_base() {
    phase "base system of $SUITE"
    mkdir -p "$ROOT"
    # Packages that were fetched stay in the cache: an interrupted build goes on from them, other images share them.
    mkdir -p "$CACHE_ROOT/packages/$SUITE"
    debootstrap --variant=minbase --cache-dir="$CACHE_ROOT/packages/$SUITE" "$SUITE" "$ROOT" "$MIRROR" "$SCRIPT"
}

# Temporary helpers inside the new root, removed by tidy: name service, this machine's apt settings, no services.
prepare() {
    cp --dereference /etc/resolv.conf /etc/hosts "$ROOT/etc/"
    apt-config dump | grep -E '^Acquire::(Check-|http|https|Retries|ForceIPv)' >"$ROOT/etc/apt/apt.conf.d/99build" || true
    # Nothing to keep when the power goes away: the image is only used when it is complete.
    printf 'force-unsafe-io\n' >"$ROOT/etc/dpkg/dpkg.cfg.d/99build"
    printf '#!/bin/sh\nexit 101\n' >"$ROOT/usr/sbin/policy-rc.d"
    chmod +x "$ROOT/usr/sbin/policy-rc.d"
    mount -t proc proc "$ROOT/proc"
}

install_packages() {
    local sources="$ROOT/etc/apt/sources.list"
    phase "packages of $NAME"
    printf 'deb %s %s main\n' "$MIRROR" "$SUITE" >"$sources"
    if [ "$SECURITY_MIRROR" != - ]; then printf 'deb %s %s-security main\n' "$SECURITY_MIRROR" "$SUITE" >>"$sources"; fi
    in_root apt-get -q update
    in_root apt-get -qy upgrade
    if [ "$ENGINE" != - ]; then
        in_root groupadd --system --gid "$SERVER_UID" "$ENGINE"
        in_root useradd --system --uid "$SERVER_UID" --gid "$SERVER_UID" --home-dir /data --no-create-home --shell /usr/sbin/nologin "$ENGINE"
    fi
    # shellcheck disable=SC2086
    in_root apt-get -qy install --no-install-recommends $PACKAGES
}

check_version() {
    local found
    found="$(in_root "$ENGINE-server" --version | sed -n 's/.*v=\([0-9.]*\).*/\1/p')"
    if [ "${found%.*}" != "$VERSION" ]; then
        printf 'WRONG VERSION: %s is pinned to %s %s, but %s gives %s\n' "$NAME" "$ENGINE" "$VERSION" "$SUITE" "$found" >&2
        exit 3
    fi
    printf '%s\n' "$found" >"$WORK/version"
}

# The node's own folders; a new named volume takes the owner of the folder that it is mounted on.
add_node_folders() {
    install -d -m 0750 -o "$SERVER_UID" -g "$SERVER_UID" "$ROOT/data"
    install -d -m 0755 "$ROOT/config"
    # Settings come from the plan alone; the package's own would only mislead.
    rm -rf "${ROOT:?}/etc/$ENGINE"
}

# Locked packages for the image's own Python, checked against the hashes of requirements.txt: what workloads (redis, hiredis) and the
# backup agent (the others) import.
CLIENT_PACKAGES='redis|hiredis|pydantic|pydantic-core|annotated-types|typing-extensions|typing-inspection|cronsim'

add_client_packages() {
    local python site="$ROOT/usr/local/lib"
    phase "locked client packages"
    python="$(in_root python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
    site="$site/python$python/dist-packages"
    awk -v keep_these="^($CLIENT_PACKAGES)==" '/^[a-zA-Z]/ {keep = $0 ~ keep_these} keep' "$REPO_ROOT/requirements.txt" >"$WORK/requirements.txt"
    "$REPO_ROOT/.venv/bin/python" -m pip install --disable-pip-version-check --no-input --no-deps --only-binary=:all: \
        --require-hashes --python-version "$python" --implementation cp --abi "cp${python/./}" --abi none \
        --platform "manylinux_2_28_$(uname -m)" --platform "manylinux2014_$(uname -m)" --platform "manylinux_2_17_$(uname -m)" \
        --platform any --target "$site" --no-compile --requirement "$WORK/requirements.txt"
    in_root python3 -m compileall -q "/usr/local/lib/python$python/dist-packages"
    in_root python3 -c 'import redis, hiredis, pydantic, cronsim; print(redis.__version__)' >"$WORK/version"
}

# What only makes the image large: caches, manuals, translations, and the helpers of this build.
tidy() {
    phase "tidying up"
    umount "$ROOT/proc"
    in_root apt-get -q clean
    rm -rf "$ROOT"/var/lib/apt/lists/* "$ROOT"/var/cache/debconf/*-old "$ROOT"/var/cache/apt/*.bin "$ROOT"/var/cache/ldconfig/* \
        "$ROOT"/var/log/* "$ROOT"/var/lib/dpkg/*-old "$ROOT"/usr/share/man/* "$ROOT"/usr/share/info/* "$ROOT"/usr/share/locale/* \
        "$ROOT"/usr/share/lintian "$ROOT"/usr/share/bug "$ROOT"/debootstrap "$ROOT"/tmp/* "$ROOT"/var/tmp/* "$ROOT"/run/*
    # Licences stay, the rest of the documentation goes.
    find "$ROOT/usr/share/doc" -mindepth 1 -not -type d -not -name copyright -delete
    find "$ROOT/usr/share/doc" -mindepth 1 -type d -empty -delete
    # The archive's address belongs to the machine that built the image.
    rm -f "$ROOT/etc/apt/sources.list" "$ROOT/etc/apt/apt.conf.d/99build" "$ROOT/etc/dpkg/dpkg.cfg.d/99build" \
        "$ROOT/usr/sbin/policy-rc.d" "$ROOT/etc/resolv.conf" "$ROOT/etc/hosts" "$ROOT/etc/hostname"
}

make_base
prepare
install_packages
if [ "$ENGINE" != - ]; then
    check_version
    add_node_folders
else
    add_client_packages
fi
tidy
phase "done"
