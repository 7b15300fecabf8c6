# Before a primary stops, a synced replica takes over, so that writes pause for milliseconds and none is lost.
# Bounded: never more than HANDOVER_SECONDS, and never waits for a peer that is stopping too.
HANDOVER_SECONDS=6

# Peers that see this mark do not hand over to this node. The title is harmless, and the next boot sets it anew.
mark_stopping() { me CONFIG SET proc-title-template "$(identity) stopping" >/dev/null; }

is_stopping() {
    case $(ask admin "$1" "$PORT" CONFIG GET proc-title-template | tail -n 1) in
        *" stopping") return 0 ;;
        *"redis-topologies:$STACK/"*) return 1 ;;
    esac
    return 0 # no answer, or a stranger: not a successor either way
}

# Online replicas, "address offset" a line, the most advanced first.
online_replicas() {
    me INFO replication | grep -E '^slave[0-9]+:.*state=online' |
        sed -E 's/.*ip=([^,]+),.*offset=([0-9]+),.*/\1 \2/' | sort -k 2,2nr
}

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
        sleep 0.05
    done
}

is_primary() { [ "$(role_of "$1")" = master ]; }

peer_gone() { ! ask admin "$1" "$PORT" PING | grep -q PONG; }

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
    esac && say "handed over in about $(($(seconds) - began)) s"
    return 0
}

hand_over_cluster() {
    [ "$(ask admin "$successor" "$PORT" CLUSTER FAILOVER)" = OK ] || { say "$successor refused to take over" && return 1; }
    until [ "$(me ROLE | head -n 1)" = slave ] && is_primary "$successor"; do
        expired && say "$successor did not take over in time" && return 1
        peer_gone "$successor" && say "$successor went away" && return 1
        sleep 0.05
    done
}

# A sentinel notices a promotion by INFO, which it sends once a second during a failover, counted from the last one. Asked
# in the right moment of that second it notices after 0.3 s, else after up to 1.1 s; so its period is set to 1 s (for this
# sentinel, until it restarts) and the moment awaited, while writes still go on.
infos_are_due_soon() {
    ages=$(ask admin "$1" "$SENTINEL_PORT" SENTINEL REPLICAS "$SERVICE" | grep -A 1 '^info-refresh$' | grep -E '^[0-9]+$')
    [ -n "$ages" ] || return 1
    for age in $ages; do
        [ "$age" -ge 250 ] && [ "$age" -le 550 ] || return 1
    done
}

await_good_moment() {
    ask admin "$1" "$SENTINEL_PORT" SENTINEL DEBUG info-period 1000 >/dev/null
    tries=0
    until infos_are_due_soon "$1" || [ $tries -ge 40 ]; do
        tries=$((tries + 1))
        sleep 0.05
    done
}

# SENTINEL FAILOVER does not pause the old primary, and a second one promotes a second replica: pause, catch up, ask once.
hand_over_sentinel() {
    accepted=
    # The last one first: the sentinel that leads a failover is the last to name the new primary, and clients ask the first.
    for sentinel in $(printf '%s\n' $SENTINELS | sort -r); do
        ask admin "$sentinel" "$SENTINEL_PORT" PING | grep -q PONG || continue
        await_good_moment "$sentinel"
        me CLIENT PAUSE $((HANDOVER_SECONDS * 1000)) WRITE >/dev/null
        await replicas_caught_up || break
        case $(ask admin "$sentinel" "$SENTINEL_PORT" SENTINEL FAILOVER "$SERVICE") in
            OK | *INPROG* | "") accepted=$sentinel && break ;; # no answer: it may have begun, so nobody else is asked
        esac
    done
    [ -n "$accepted" ] || { say "no sentinel could start a failover" && me CLIENT UNPAUSE >/dev/null && return 1; }
    until for peer in $SHARD_PEERS; do is_primary "$peer" && break; done; do
        expired && say "no replica was promoted in time" && return 1
        sleep 0.02
    done
    say "$peer was promoted by $accepted"
}

# Nothing fails over by itself here: promote the successor, point the others at it, remember the new role for the next boot.
hand_over_replication() {
    me CLIENT PAUSE $((HANDOVER_SECONDS * 1000)) WRITE >/dev/null
    await replicas_caught_up || { me CLIENT UNPAUSE >/dev/null && return 1; }
    ask admin "$successor" "$PORT" REPLICAOF NO ONE >/dev/null
    await is_primary "$successor" || { say "$successor was not promoted" && me CLIENT UNPAUSE >/dev/null && return 1; }
    ask admin "$successor" "$PORT" CONFIG REWRITE >/dev/null
    for peer in $SHARD_PEERS; do
        [ "$peer" = "$successor" ] && continue
        ask admin "$peer" "$PORT" REPLICAOF "$successor" "$PORT" >/dev/null && ask admin "$peer" "$PORT" CONFIG REWRITE >/dev/null
    done
    me REPLICAOF "$successor" "$PORT" >/dev/null
    me CONFIG REWRITE >/dev/null
}
