# Before a primary stops, a synced replica takes over, so that writes pause for milliseconds and none is lost.
# Bounded: never more than HANDOVER_SECONDS, and never waits for a peer that is stopping too.
HANDOVER_SECONDS=6
MOMENT_SECONDS=3

# Peers that see this mark do not hand over to this node. The title is harmless, and the next boot sets it anew.
mark_stopping() { me CONFIG SET proc-title-template "$(identity) stopping" >/dev/null; }

is_stopping() {
    case $(ask admin "$1" "$PORT" CONFIG GET proc-title-template | tail -n 1) in
        *" stopping") return 0 ;;
        *"redis-topologies:$STACK/"*) return 1 ;;
    esac
    return 0 # no answer, or a stranger: not a successor either way
}

# Convergence told this node that it left the stack (operations/reshape.py), and it takes part in nothing any more.
has_left() {
    case $(me CONFIG GET proc-title-template | tail -n 1) in *" left") ;; *) return 1 ;; esac
    if [ "$TOPOLOGY" = cluster ]; then
        [ "$(me CLUSTER INFO | field cluster_known_nodes)" = 1 ] && [ "$(me DBSIZE)" = 0 ]
    else
        [ "$(me ROLE | sed -n 2p)" = 127.0.0.1 ]
    fi
}

# Online replicas, "address offset" a line: declared ones before temporary ones (operations/surge.py), the most advanced first.
online_replicas() {
    me INFO replication | grep -E '^slave[0-9]+:.*state=online' |
        sed -E 's/.*ip=([^,]+),.*offset=([0-9]+),.*/\1 \2/' | while read -r address offset; do
        case " $PEERS " in *" $address "*) echo "0 $address $offset" ;; *) echo "1 $address $offset" ;; esac
    done | sort -k 1,1n -k 3,3nr | cut -d ' ' -f 2-
}

# Every node that can become primary in this one's place, or that follows it.
shard_nodes() { printf '%s\n' $SHARD_PEERS $(online_replicas | cut -d ' ' -f 1) | sort -u; }

role_of() { ask admin "$1" "$PORT" ROLE | head -n 1; }

follows_me() {
    case $(ask admin "$1" "$PORT" ROLE | tr '\n' ' ') in
        "slave $ADDRESS "*) return 0 ;;
    esac
    return 1
}

expired() { [ "$(seconds)" -ge "$deadline" ]; }

pick_successor() {
    while read -r address _; do
        is_stopping "$address" || { echo "$address" && return 0; }
    done <<LIST
$(online_replicas)
LIST
    return 1
}

# All replicas that are online have what this node has; holds only while writes are paused. The replicas are asked themselves:
# what this node knows of their offsets is up to a second old.
replicas_caught_up() {
    offset=$(me ROLE | sed -n 2p)
    for address in $(online_replicas | cut -d ' ' -f 1); do
        has=$(ask admin "$address" "$PORT" ROLE | sed -n 5p)
        [ "${has:-0}" -ge "$offset" ] || return 1
    done
}

await() { # await CONDITION…: until it holds or the time is up
    until "$@"; do
        expired && return 1
        sleep 0.02
    done
}

is_primary() { [ "$(role_of "$1")" = master ]; }

peer_gone() { ! ask admin "$1" "$PORT" PING | grep -q PONG; }

handed_over=
hand_over() {
    deadline=$(($(seconds) + HANDOVER_SECONDS))
    [ "$(me ROLE | head -n 1)" = master ] || return 0
    mark_stopping
    [ -n "$PEERS" ] || return 0
    until successor=$(pick_successor); do
        # Wait for a replica that is still copying, but not for one that is stopping or gone.
        expired && say "no replica became ready in $HANDOVER_SECONDS s: stopping without a successor" && return 0
        waiting=no
        for peer in $SHARD_PEERS; do follows_me "$peer" && ! is_stopping "$peer" && waiting=yes; done
        [ "$waiting" = yes ] || { say "no replica follows or all are stopping too: stopping without a successor" && return 0; }
        sleep 0.1
    done
    began=$(seconds)
    case $TOPOLOGY in
        cluster) hand_over_cluster ;;
        sentinel) hand_over_sentinel ;;
        replication) hand_over_replication ;;
    esac && handed_over=yes && say "handed over in about $(($(seconds) - began)) s"
    return 0
}

hand_over_cluster() {
    [ "$(ask admin "$successor" "$PORT" CLUSTER FAILOVER)" = OK ] || { say "$successor refused to take over" && return 1; }
    until [ "$(me ROLE | head -n 1)" = slave ] && is_primary "$successor"; do
        expired && say "$successor did not take over in time" && return 1
        peer_gone "$successor" && say "$successor went away" && return 1
        sleep 0.02
    done
    sleep 0.2 # as a replica this node tells clients where to go (MOVED); afterwards they would find nobody
}

# A sentinel that leads a failover learns of the promotion by INFO, which it sends to each replica once a second, counted from the
# last one. It promotes up to 0.35 s after it was asked, and INFO should follow at once: then it is asked about 0.6 s after the last
# one. So its period is set to 1 s (for this sentinel, until it restarts) and the moment awaited, while writes still go on.
# info_is_due_soon: pausing and catching up take another 0.1 s.
info_is_due_soon() {
    oldest=0 youngest=99999
    replicas=$(ask admin "$1" "$SENTINEL_PORT" SENTINEL REPLICAS "$SERVICE")
    for age in $(printf '%s\n' "$replicas" | grep -A 1 '^info-refresh$' | grep -E '^[0-9]+$'); do
        [ "$age" -gt 12000 ] && continue # one that is down, and cannot be promoted
        [ "$age" -gt "$oldest" ] && oldest=$age
        [ "$age" -lt "$youngest" ] && youngest=$age
    done
    wanted=1000
    if [ $((oldest - youngest)) -gt 150 ]; then # not asked at the same time: hold until all are due, which then are asked together
        [ "$youngest" -ge 1000 ] || wanted=10000
    fi
    [ "$period" = "$wanted" ] || ask admin "$1" "$SENTINEL_PORT" SENTINEL DEBUG info-period "$wanted" >/dev/null
    period=$wanted
    [ $((oldest - youngest)) -le 150 ] && [ "$oldest" -ge 480 ] && [ "$oldest" -le 590 ]
}

# A moment that is less good costs clients a second. One that does not come, as on a busy machine, must not take the time of the handover
# itself; false when the sentinel is silent, for it may be stopping too.
await_good_moment() {
    period=unknown latest=$(($(seconds) + MOMENT_SECONDS))
    until info_is_due_soon "$1" || expired || [ "$(seconds)" -ge "$latest" ]; do
        [ -n "$replicas" ] || return 1
        sleep 0.02
    done
    [ "$period" = 1000 ] || ask admin "$1" "$SENTINEL_PORT" SENTINEL DEBUG info-period 1000 >/dev/null
    [ -n "$replicas" ]
}

# SENTINEL FAILOVER does not pause the old primary, and a second one promotes a second replica: pause, catch up, ask once.
hand_over_sentinel() {
    accepted='' peers=$(shard_nodes)
    # The last one first: the sentinel that leads a failover is the last to name the new primary, and clients ask the first.
    for sentinel in $(printf '%s\n' $SENTINELS | sort -r); do
        expired && break
        ask admin "$sentinel" "$SENTINEL_PORT" PING | grep -q PONG || continue
        await_good_moment "$sentinel" || continue
        me CLIENT PAUSE $((HANDOVER_SECONDS * 1000)) WRITE >/dev/null
        await replicas_caught_up || break
        case $(ask admin "$sentinel" "$SENTINEL_PORT" SENTINEL FAILOVER "$SERVICE") in
            OK | *INPROG* | "") accepted=$sentinel && break ;; # no answer: it may have begun, so nobody else is asked
        esac
    done
    [ -n "$accepted" ] || { say "no sentinel could start a failover" && me CLIENT UNPAUSE >/dev/null && return 1; }
    until for peer in $peers; do is_primary "$peer" && break; done; do
        expired && say "no replica was promoted in time" && return 1
        sleep 0.01
    done
    # Everything is on the replicas already: do not wait for their next report while clients hang on this node.
    me CONFIG SET shutdown-timeout 0 >/dev/null
    say "$peer was promoted by $accepted"
}

sentinels_know() {
    for sentinel in $SENTINELS; do
        [ "$(ask admin "$sentinel" "$SENTINEL_PORT" SENTINEL get-master-addr-by-name "$SERVICE" | head -n 1)" != "$ADDRESS" ] || return 1
    done
}

# The server has ended, its address is still there: who connects is refused at once and asks the sentinels again. An address that
# is gone does not answer at all, and clients that still believe in it hang until their time-out.
linger() {
    [ "$TOPOLOGY" = sentinel ] && [ -n "$handed_over" ] || return 0
    await sentinels_know && sleep 0.2
}

# Nothing fails over by itself here: promote the successor, point the others at it, remember the new role for the next boot.
hand_over_replication() {
    peers=$(shard_nodes)
    me CLIENT PAUSE $((HANDOVER_SECONDS * 1000)) WRITE >/dev/null
    await replicas_caught_up || { me CLIENT UNPAUSE >/dev/null && return 1; }
    ask admin "$successor" "$PORT" REPLICAOF NO ONE >/dev/null
    await is_primary "$successor" || { say "$successor was not promoted" && me CLIENT UNPAUSE >/dev/null && return 1; }
    ask admin "$successor" "$PORT" CONFIG REWRITE >/dev/null
    for peer in $peers; do
        [ "$peer" = "$successor" ] && continue
        ask admin "$peer" "$PORT" REPLICAOF "$successor" "$PORT" >/dev/null && ask admin "$peer" "$PORT" CONFIG REWRITE >/dev/null
    done
    me REPLICAOF "$successor" "$PORT" >/dev/null
    me CONFIG REWRITE >/dev/null
}
