#!/bin/sh
# Start one server: settle its role, run it as a child, hand over before it stops.
# usage: start.sh NODE_DIRECTORY (holds node.env; what all nodes of a kind share stands beside it; read-only)
set -u
config=$1
scripts=${0%/*}
. "$config/node.env"
shared=${config%/*}/$KIND
. "$scripts/common.sh"

[ -w "$DATA" ] || die "the data volume $DATA is not writable for user $(id -u); the image must own $DATA as the user that runs the server"
umask 077

if [ "$KIND" = sentinel ]; then
    . "$scripts/sentinel.sh"
    write_sentinel_conf
    set -- "$(server_binary)" "$DATA/sentinel.conf" --sentinel
else
    . "$scripts/role.sh"
    . "$scripts/confirm.sh"
    . "$scripts/tail.sh"
    . "$scripts/handover.sh"
    drop_zero_tail
    settle_role
    write_identity
    set -- "$(server_binary)" "$DATA/server.conf"
fi

stopping='' left=''
on_stop() {
    [ -z "$stopping" ] || return 0
    stopping=yes
    if [ "$KIND" != sentinel ]; then
        . "$config/node.env" # topology and peers may have changed since the start
        if has_left; then left=yes; else hand_over; fi
    fi
    kill -TERM "$server" 2>/dev/null
}
trap on_stop TERM INT

"$@" &
server=$!
[ -z "${held:-}" ] || confirm_primary &
# `wait` returns early when the trap ran, so wait again until the server itself is gone.
while :; do
    wait "$server"
    status=$?
    kill -0 "$server" 2>/dev/null || break
done
if [ -n "$stopping" ]; then
    say "stopped with status $status"
    [ "$KIND" = sentinel ] || linger
fi
# Its data lives on in the nodes that stayed, and must not come back when the stack grows again.
[ -z "$left" ] || { rm -rf "${DATA:?}"/* && say "left the stack; the volume is empty"; }
exit "$status"
