#!/bin/sh
# Healthy: the server answers, loading included (a restart would only begin the load anew).
set -u
config=$1
. "$config/node.env"
shared=${config%/*}/$KIND
. "${0%/*}/common.sh"
answer=$(ask monitor 127.0.0.1 "$PORT" PING)
case $answer in
    PONG | LOADING* | MASTERDOWN*) exit 0 ;;
esac
echo "no answer to PING: ${answer:-nothing}"
exit 1
