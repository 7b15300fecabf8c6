# A primary that comes back may have been replaced meanwhile, or be replaced at this very moment, and must not acknowledge writes that
# are gone when it hears of it. It asked who is primary before its server started (role.sh), but
# - under Sentinel a failover may be under way just then: its old replicas follow it again, so `min-replicas-to-write` does not stop it,
#   and it would acknowledge writes until it is told to follow, some ten seconds later. A Redis Cluster waits 2 s after a start for
#   the same reason (CLUSTER_WRITABLE_DELAY);
# - in plain replication whoever was promoted by hand may have been down just then, or was promoted while this node loaded its data.
# So a primary starts with its writes refused (NOREPLICAS: it demands more replicas than there can be) and accepts them when the
# sentinels have seen it back, or its peers have answered, and none of them knows better.
NOBODY_HAS=1000000
PEERS_SECONDS=5 # for peers that start together with this node, as after a restart of the machine
ALONE=alone     # in the title of a primary that nobody could confirm: whoever was promoted meanwhile does not follow it

hold_line() { printf 'min-replicas-to-write %s\n' "$NOBODY_HAS"; }

now_ms() {
    read -r up _ < /proc/uptime # "12.34": seconds and their hundredths
    printf '%s\n' $((${up%.*} * 1000 + 1${up#*.} * 10 - 1000))
}

alive() { kill -0 "$server" 2>/dev/null; }

# says WORD VIEWS: how many say so.
says() { printf '%s\n' "$2" | grep -cxF "$1"; }

# how_many LINES: how many have said anything.
how_many() { printf '%s\n' "$1" | grep -c .; }

# sentinel_view SENTINEL AGE_MS: what it makes of this node, one word; none when it is silent.
# seen: its last ping was answered, by the server that has run for AGE_MS; unseen: not yet; busy: a failover is under way;
# else the address of the primary that it names instead.
sentinel_view() {
    age_ms=$2
    ask admin "$1" "$SENTINEL_PORT" SENTINEL MASTER "$SERVICE" | tr -d '\r' | {
        ip='' flags='' unanswered_ms=1 answered_ms=$age_ms
        while read -r name && read -r value; do
            case $name in
                ip) ip=$value ;;
                flags) flags=$value ;;
                last-ping-sent) unanswered_ms=$value ;; # 0 when nothing is awaited
                last-ok-ping-reply) answered_ms=$value ;;
            esac
        done
        case $ip,$flags in
            ,*) ;;
            "$ADDRESS",*failover_in_progress*) echo busy ;;
            "$ADDRESS",*down* | "$ADDRESS",*disconnected*) echo unseen ;;
            "$ADDRESS",*) if [ "$unanswered_ms" -eq 0 ] && [ "$answered_ms" -lt "$age_ms" ]; then echo seen; else echo unseen; fi ;;
            *) echo "$ip" ;;
        esac
    }
}

sentinel_views() { for sentinel in $SENTINELS; do sentinel_view "$sentinel" "$1" & done; wait; }

# decide_by_sentinels VIEWS WAITED_SECONDS: `follow ADDRESS` when a majority names another primary, `accept` writes, or `wait`.
# Sentinels that are silent, or name somebody who is not primary any more, are waited for as long as a failover takes.
decide_by_sentinels() {
    majority=$(majority_of "$1")
    if [ "$(says busy "$1")" -gt 0 ]; then
        echo wait # a failover that comes to nothing ends by its own time-out
    elif [ "$majority" = seen ] && [ "$(says seen "$1")" -eq "$(how_many "$1")" ]; then
        echo accept
    else
        case $majority in
            '' | seen | unseen) if [ "$2" -ge "$FAILOVER_BOUND_SECONDS" ]; then echo accept; else echo wait; fi ;;
            *) echo "follow $majority" ;;
        esac
    fi
}

# decide_by_peers VIEWS WAITED_SECONDS: `follow ADDRESS` of a primary that serves, `accept` writes, `accept alone`, or `wait`.
# When the peers contradict each other, or this node, somebody was promoted while some were away. Which of two primaries has the newer data
# cannot be known here, so it waits until all agree, or a person settles it. Silent peers are waited for as long as they may take to start.
decide_by_peers() {
    primary=$(printf '%s\n' "$1" | sed -n 's/^primary://p' | head -n 1)
    mine=$(says mine "$1")
    if [ -n "$primary" ]; then
        if [ "$mine" -eq 0 ]; then echo "follow $primary"; else echo wait; fi
    elif [ "$mine" -gt 0 ]; then
        echo accept
    elif [ "$(says other "$1")" -gt 0 ] || [ "$(says unsure "$1")" -gt 0 ]; then
        echo wait
    elif [ "$(how_many "$1")" -eq "$(set -- $PEERS; echo $#)" ]; then
        echo accept
    elif [ "$2" -ge "$PEERS_SECONDS" ]; then
        echo "accept $ALONE"
    else
        echo wait
    fi
}

accept_writes() {
    declared=$(sed -n 's/^min-replicas-to-write //p' "$shared/declared.conf" | tail -n 1)
    until [ "$(me CONFIG SET min-replicas-to-write "${declared:-0}")" = OK ]; do
        alive || return
        sleep 0.1
    done
    say "$1 after $(($(now_ms) - began_ms)) ms: min-replicas-to-write is ${declared:-0} again"
}

# Runs beside the server until it is settled whether this node is still the primary.
confirm_primary() {
    began_ms=$(now_ms)
    until me PING | grep -q PONG; do
        alive || return
        sleep 0.1
    done
    answering=$(seconds)
    while alive; do
        if [ "$(me ROLE | head -n 1)" = slave ]; then
            accept_writes "another node took over" # nobody writes to a replica; this is for the day when it is promoted
            me CONFIG REWRITE >/dev/null
            return
        fi
        waited=$(($(seconds) - answering))
        if [ "$TOPOLOGY" = sentinel ]; then
            views=$(sentinel_views $(($(now_ms) - began_ms)))
            decision=$(decide_by_sentinels "$views" "$waited")
        else
            views=$(peer_views)
            decision=$(decide_by_peers "$views" "$waited")
        fi
        case $decision in
            accept*)
                [ "$decision" = accept ] || me CONFIG SET proc-title-template "$(identity) $ALONE" >/dev/null
                accept_writes "still primary (the others say: $(printf '%s ' $views))" && return
                ;;
            follow*)
                say "${decision#follow } took over meanwhile: following it"
                me REPLICAOF "${decision#follow }" "$PORT" >/dev/null
                ;;
            *) if [ "$waited" -lt 60 ]; then sleep 0.1; else sleep 1; fi ;;
        esac
    done
}
