#!/usr/bin/env bash
# From a bare machine to one that can run `pulumi up`: every step says what it found or did and is skipped when it is done.
#
# usage: setup.sh [IMAGE ...|none]   the node and client images to have ready (images/images.tsv), default redis-8.0
#
# Interrupted or failed: what is complete is kept, the next run goes on from there.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

trap 'exit "$EXIT_INTERRUPTED"' INT TERM HUP
started="$(date +%s%N)"
for step in packages python engine; do bash "$TOOLCHAIN_SOURCE/steps/$step.sh"; done
if [ "${1:-}" != none ]; then bash "$TOOLCHAIN_SOURCE/steps/images.sh" "$@"; fi
bash "$TOOLCHAIN_SOURCE/steps/pulumi.sh"
say "$(awk -v since="$started" -v now="$(date +%s%N)" 'BEGIN {printf "ready after %.1f s", (now - since) / 1e9}')"
