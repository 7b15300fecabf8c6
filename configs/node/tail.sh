# After a power cut a log may end in zeros: the file system had noted that the file grew within its last block, but not yet with what
# (ext4 does not order the two; data=ordered is about new blocks). No record ends in a zero byte, so nothing that was synced is in such
# a tail; but a server takes it for a foreign format and refuses to start, whatever `aof-load-truncated` says.
ZERO_TAIL_BYTES=65536

drop_zero_tail() {
    checker=$(command -v redis-check-aof || command -v valkey-check-aof) || return 0
    for log in "$DATA"/appendonlydir/*.incr.aof; do
        [ -s "$log" ] && [ "$(tail -c 1 "$log" | tr -d '\000' | wc -c)" -eq 0 ] || continue
        good=$("$checker" "$log" 2>/dev/null < /dev/null | sed -n 's/.*ok_up_to=\([0-9]*\),.*/\1/p')
        size=$(wc -c < "$log")
        if [ -n "$good" ] && [ $((size - good)) -le "$ZERO_TAIL_BYTES" ] && truncate -s "$good" "$log"; then
            say "${log##*/} ended in zeros, as after a loss of power: its last $((size - good)) bytes are cut off"
        else
            say "${log##*/} ends in zeros after byte ${good:-0} of $size: too much to cut off by itself; see redis-check-aof --fix"
        fi
    done
}
