#!/usr/bin/env bash
# Pulumi, its Python language host and the Docker provider, in the versions of versions.env: those on PATH, else the official
# download, else built from Go modules (go.sum checked) into the cache.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
STEP_NAME=pulumi

HELPERS=(pulumi-language-python pulumi-language-python-exec pulumi-resource-pulumi-python)
PLUGIN_BINARY="${PULUMI_HOME:-$HOME/.pulumi}/plugins/resource-docker-v$PULUMI_DOCKER_VERSION/pulumi-resource-docker"
DOWNLOAD_SITE="${PULUMI_DOWNLOAD_SITE:-https://get.pulumi.com}"
BUILD_MEGABYTES=8000
export PULUMI_SKIP_UPDATE_CHECK=true

version_of() { "$1" version 2>/dev/null || true; }

# usable_on_path: the right Pulumi with all its helpers is on PATH, outside our own cache.
usable_on_path() {
    local path helper
    path="$(command -v pulumi)" || return 1
    [ "$path" != "$TOOLCHAIN_BIN/pulumi" ] && [ "$(version_of "$path")" = "v$PULUMI_VERSION" ] || return 1
    for helper in "${HELPERS[@]}"; do command -v "$helper" >/dev/null 2>&1 || return 1; done
}

cached() {
    local piece
    for piece in pulumi "${HELPERS[@]}"; do [ -x "$TOOLCHAIN_BIN/$piece" ] || return 1; done
}

# install_piece FILE NAME: a complete file under its final name, or none.
install_piece() {
    mkdir -p "$TOOLCHAIN_BIN"
    cp "$1" "$TOOLCHAIN_BIN/.$2.partial"
    chmod 755 "$TOOLCHAIN_BIN/.$2.partial"
    mv "$TOOLCHAIN_BIN/.$2.partial" "$TOOLCHAIN_BIN/$2"
}

# ---- official download ----------------------------------------------------------------------------------------------------

platform() {
    local system machine
    case "$(uname -s)" in Linux) system=linux ;; Darwin) system=darwin ;; *) return 1 ;; esac
    case "$(uname -m)" in x86_64) machine="$1" ;; aarch64 | arm64) machine=arm64 ;; *) return 1 ;; esac
    printf '%s-%s' "$system" "$machine"
}

fetch() { curl --fail --silent --show-error --location --connect-timeout 3 --max-time "$1" --output "$3" "$2"; }

# reachable: the site answers at once; the file that it answers with is the list of checksums.
reachable() {
    command -v curl >/dev/null 2>&1 && mkdir -p "$1" &&
        fetch 10 "$DOWNLOAD_SITE/releases/sdk/pulumi-$PULUMI_VERSION-checksums.txt" "$1/checksums.txt" 2>/dev/null
}

work_download() {
    local folder="$1" archive helper
    # shellcheck disable=SC2064
    trap "rm -rf '$folder'" EXIT
    trap 'exit 130' INT TERM HUP
    archive="pulumi-v$PULUMI_VERSION-$(platform x64).tar.gz"
    fetch 900 "$DOWNLOAD_SITE/releases/sdk/$archive" "$folder/$archive"
    (cd "$folder" && grep -F "  $archive" checksums.txt | sha256sum --check --strict)
    tar -C "$folder" -xzf "$folder/$archive"
    for helper in "${HELPERS[@]}"; do install_piece "$folder/pulumi/$helper" "$helper"; done
    install_piece "$folder/pulumi/pulumi" pulumi
}

# ---- built from Go modules ------------------------------------------------------------------------------------------------

older() { [ "$1" != "$2" ] && [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

# need_go: a Go that can build what go.mod asks for. A missing one is installed (Debian, root); one that is too old fetches the
# right one from the module proxy, checked against the public checksum database.
need_go() {
    local found wanted
    wanted="$(sed -n 's/^go //p' "$TOOLCHAIN_SOURCE/pulumi/go.mod")"
    if ! command -v go >/dev/null 2>&1 && [ -x /usr/local/go/bin/go ]; then PATH="/usr/local/go/bin:$PATH"; fi
    if ! command -v go >/dev/null 2>&1; then
        is_debian && is_root || die "$EXIT_UNREACHABLE" "Pulumi $PULUMI_VERSION is neither on PATH nor can it be downloaded from" \
            "$DOWNLOAD_SITE, and there is no Go to build it; install Pulumi $PULUMI_VERSION or Go $wanted and run make setup again"
        run_shown "installing Go" "$LOG_ROOT/apt.log" env DEBIAN_FRONTEND=noninteractive \
            apt-get -qy -o DPkg::Lock::Timeout=120 install --no-install-recommends golang-go ||
            die "$EXIT_UNREACHABLE" "apt-get could not install golang-go (log $LOG_ROOT/apt.log)"
    fi
    found="$(go env GOVERSION 2>/dev/null || go version | sed 's/.*\(go[0-9.]*\).*/\1/')"
    found="${found#go}"
    if ! older "$found" "$wanted"; then return; fi
    if older "$found" 1.21; then
        # It cannot switch by itself yet, but it can fetch the newer one, which is a module like any other.
        run_shown "fetching Go $wanted" "$LOG_ROOT/toolchain-go.log" bash "$0" fetch-go "$wanted" ||
            die "$EXIT_UNREACHABLE" "Go $found is too old and Go $wanted could not be fetched (log $LOG_ROOT/toolchain-go.log);" \
                "install Go $wanted or newer, or Pulumi $PULUMI_VERSION itself, and run make setup again"
        PATH="$(go_folder "$wanted")/bin:$PATH"
        export GOTOOLCHAIN=local
    else
        export GOTOOLCHAIN="go$wanted"
    fi
}

go_module() { printf 'golang.org/toolchain@v0.0.1-go%s.%s-%s' "$1" "$(go env GOOS)" "$(go env GOARCH)"; }

go_folder() { printf '%s/%s' "$(go env GOMODCACHE)" "$(go_module "$1")"; }

fetch_go() {
    local folder
    cd /
    go mod download "$(go_module "$1")"
    folder="$(go_folder "$1")"
    # Modules carry no run bits.
    chmod a+x "$folder"/bin/* "$folder"/pkg/tool/*/*
}

# go_build FOLDER PACKAGE OUTPUT [FLAG...]
go_build() {
    local folder="$1" package="$2" output="$3"
    shift 3
    # The module list is complete and go.sum is checked: a build that would have to change either fails.
    (cd "$TOOLCHAIN_SOURCE/$folder" && GOWORK=off GOFLAGS=-mod=readonly CGO_ENABLED=0 go build -v "$@" -o "$output" "$package")
}

work_cli() {
    go_build pulumi github.com/pulumi/pulumi/pkg/v3/cmd/pulumi "$1/pulumi" \
        -ldflags "-X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=v$PULUMI_VERSION"
    install_piece "$1/pulumi" pulumi
}

work_language() {
    local sdk
    go_build pulumi-language-python github.com/pulumi/pulumi/sdk/v3/python/cmd/pulumi-language-python "$1/pulumi-language-python"
    install_piece "$1/pulumi-language-python" pulumi-language-python
    sdk="$(cd "$TOOLCHAIN_SOURCE/pulumi" && go list -m -f '{{.Dir}}' github.com/pulumi/pulumi/sdk/v3)"
    install_piece "$sdk/python/cmd/pulumi-language-python-exec" pulumi-language-python-exec
    install_piece "$sdk/python/dist/pulumi-resource-pulumi-python" pulumi-resource-pulumi-python
}

work_plugin() {
    local source="$1/pulumi-resource-docker"
    cp -r "$TOOLCHAIN_SOURCE/pulumi-resource-docker" "$source"
    cd "$source"
    export GOWORK=off GOFLAGS=-mod=readonly CGO_ENABLED=0
    go build -v -tags no_compose -o "$1/pulumi-tfgen-docker" ./cmd/pulumi-tfgen-docker
    "$1/pulumi-tfgen-docker" schema --out "$1/schema" --skip-docs --skip-examples
    cp "$1/schema/schema.json" cmd/pulumi-resource-docker/
    go build -v -tags no_compose -o "$1/provider" ./cmd/pulumi-resource-docker
    install_piece "$1/provider" pulumi-resource-docker.built
}

# built_packages LOG: how far a build is, for the line that shows progress.
progress_of_build() { printf '%d packages compiled' "$(grep -c '^[a-z].*[/.]' "$1" 2>/dev/null || true)"; }

# in_work PIECE PHASE: runs "work_PIECE" in a shell and a folder of its own, removed whatever happens.
in_work() {
    local folder="$CACHE_ROOT/work/$1.$$" log="$LOG_ROOT/toolchain-$1.log"
    mkdir -p "$folder"
    PROGRESS=progress_of_build run_shown "$2" "$log" bash "$0" work "$1" "$folder" || die "$EXIT_UNREACHABLE" \
        "$1 could not be built (log $log); check the connection to the Go module proxy and the room on the disk" \
        "($(free_megabytes "$CACHE_ROOT") MB free), then run make setup again: what is compiled is kept"
}

work() {
    local piece="$1" folder="$2"
    # shellcheck disable=SC2064
    trap "rm -rf '$folder'" EXIT
    trap 'exit 130' INT TERM HUP
    "work_$piece" "$folder"
}

build_room() { need_room "$CACHE_ROOT" "$BUILD_MEGABYTES" "building Pulumi from Go modules"; }

# ---- the two things to provide ----------------------------------------------------------------------------------------------

provide_cli() {
    local folder="$CACHE_ROOT/work/download.$$"
    if usable_on_path; then
        say "v$PULUMI_VERSION on PATH ($(command -v pulumi))"
        return
    fi
    if cached; then
        say "v$PULUMI_VERSION in the cache ($TOOLCHAIN_BIN)"
        return
    fi
    take_lock toolchain
    if ! cached && platform x64 >/dev/null && reachable "$folder"; then
        run_shown "downloading Pulumi v$PULUMI_VERSION" "$LOG_ROOT/toolchain-download.log" bash "$0" download "$folder" ||
            say "the download is not usable; building Pulumi instead"
    fi
    rm -rf "$folder"
    if ! cached; then
        need_go
        [ -x "$TOOLCHAIN_BIN/pulumi" ] || build_room
        [ -x "$TOOLCHAIN_BIN/pulumi" ] || in_work cli "building Pulumi v$PULUMI_VERSION from Go modules (minutes, once)"
        in_work language "building Pulumi's Python language host"
    fi
    drop_lock
    say "$(version_of "$TOOLCHAIN_BIN/pulumi") installed in the cache ($TOOLCHAIN_BIN)"
}

provide_plugin() {
    STEP_NAME=provider
    local built="$TOOLCHAIN_BIN/pulumi-resource-docker.built" how=built
    if [ -x "$PLUGIN_BINARY" ] && [ ! -e "${PLUGIN_BINARY%/*}.partial" ]; then
        say "pulumi-docker $PULUMI_DOCKER_VERSION is installed"
        return
    fi
    usable_on_path || PATH="$TOOLCHAIN_BIN:$PATH"
    take_lock toolchain
    if [ ! -x "$built" ] && curl --silent --head --connect-timeout 3 --max-time 5 --output /dev/null "$DOWNLOAD_SITE" 2>/dev/null &&
        run_shown "downloading pulumi-docker $PULUMI_DOCKER_VERSION" "$LOG_ROOT/toolchain-plugin-download.log" \
            pulumi plugin install resource docker "$PULUMI_DOCKER_VERSION"; then
        how=downloaded
    else
        if [ ! -x "$built" ]; then
            need_go
            build_room
            in_work plugin "building pulumi-docker $PULUMI_DOCKER_VERSION from Go modules (minutes, once)"
        fi
        run_shown "installing the provider" "$LOG_ROOT/toolchain-plugin.log" \
            pulumi plugin install resource docker "$PULUMI_DOCKER_VERSION" --reinstall --file "$built" ||
            die "$EXIT_BROKEN" "Pulumi did not accept the provider that was built (log $LOG_ROOT/toolchain-plugin.log)"
    fi
    drop_lock
    say "pulumi-docker $PULUMI_DOCKER_VERSION installed ($how)"
}

case "${1:-}" in
work) shift && work "$@" ;;
download) work_download "$2" ;;
fetch-go) fetch_go "$2" ;;
*)
    handle_interrupts
    provide_cli
    provide_plugin
    ;;
esac
