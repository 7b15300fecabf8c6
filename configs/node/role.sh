# Which role a data node starts with. The server owns its role (nodes.conf, replicaof); declared parameters come last and win.

# Lines of the last run that tell the role; empty for a primary.
kept_role() { grep -E '^(replicaof|slaveof) ' "$DATA/server.conf"; }

was_primary() {
    if [ "$TOPOLOGY" = cluster ]; then
        # "<id> <address> myself,master - 0 0 <epoch> connected 0-5460": slots begin at the ninth word.
        grep 'myself,master' "$DATA/nodes.conf" 2>/dev/null | while read -r _ _ _ _ _ _ _ _ slots; do
            [ -z "$slots" ] || echo yes
        done | grep -q yes
    else
        [ -s "$DATA/server.conf" ] && [ -z "$(kept_role)" ]
    fi
}

# The address of another node that is the primary now, as the others see it; empty when there is none.
primary_elsewhere() {
    if [ "$TOPOLOGY" = sentinel ]; then
        majority_of_sentinels
    elif [ "$TOPOLOGY" = replication ]; then
        decide_by_peers "$(peer_views)" 0 | sed -n 's/^follow //p'
    fi
}

# peer_view PEER: what a node of plain replication is, one word; none when it is silent.
# primary:ADDRESS: it serves as primary; unsure: it came back as primary, and nobody has confirmed it (confirm.sh);
# mine: it follows this node; other: it follows another one; blank: it follows nobody yet.
peer_view() {
    set -- "$1" $(ask admin "$1" "$PORT" ROLE | tr -d '\r' | head -n 2)
    case ${2:-},${3:-} in
        master,*)
            case $(ask admin "$1" "$PORT" CONFIG GET min-replicas-to-write proc-title-template | tr '\n' ' ') in
                '') ;; # it stopped just now
                *"min-replicas-to-write $NOBODY_HAS "* | *" $ALONE "*) echo unsure ;;
                *) echo "primary:$1" ;;
            esac
            ;;
        slave,"$ADDRESS") echo mine ;;
        slave,127.0.0.1) echo blank ;;
        slave,*) echo other ;;
    esac
}

peer_views() { for peer in $PEERS; do peer_view "$peer" & done; wait; }

# The primary that more than half of the sentinels name, unless it is this node.
majority_of_sentinels() {
    new=$(majority_of "$(for sentinel in $SENTINELS; do ask admin "$sentinel" "$SENTINEL_PORT" SENTINEL get-master-addr-by-name "$SERVICE" | head -n 1; done)")
    [ "$new" = "$ADDRESS" ] || echo "$new"
}

# majority_of ANSWERS: the line that more than half of the sentinels gave; nothing when there is none.
majority_of() {
    for candidate in $(printf '%s\n' "$1" | sort -u); do
        votes=$(printf '%s\n' "$1" | grep -cxF "$candidate")
        [ $((votes * 2)) -gt "$(set -- $SENTINELS; echo $#)" ] && echo "$candidate"
    done
}

# In a cluster: true when a peer no longer counts this node as the owner of slots.
slots_taken_over() {
    id=$(grep myself "$DATA/nodes.conf" | cut -d ' ' -f 1)
    for peer in $PEERS; do
        line=$(ask admin "$peer" "$PORT" CLUSTER NODES | grep "^$id ") || continue
        [ -z "$(printf '%s\n' "$line" | cut -d ' ' -f 9-)" ] && return 0
    done
    return 1
}

# True when one of this shard's other nodes has run longer than we wait: it still holds what it had in memory.
survivor_in_shard() {
    for peer in $SHARD_PEERS; do
        uptime=$(ask admin "$peer" "$PORT" INFO server | field uptime_in_seconds)
        [ "${uptime:-0}" -gt "$1" ] && echo "$peer" && return 0
    done
    return 1
}

# Without AOF a primary comes back without its last writes and would empty its replicas (or without any: none of them).
# So it waits until somebody took over; when nobody can because all were down, it starts after the time a failover takes.
wait_for_failover() {
    say "was primary and has no append-only file: waiting for the failover before starting"
    began=$(seconds)
    while :; do
        waited=$(($(seconds) - began))
        if [ "$TOPOLOGY" = cluster ]; then
            slots_taken_over && say "another node took over after $waited s" && return
        else
            new=$(primary_elsewhere)
            [ -n "$new" ] && say "$new took over after $waited s" && return
        fi
        if [ "$waited" -ge "$FAILOVER_BOUND_SECONDS" ]; then
            survivor=$(survivor_in_shard "$waited") || break
            [ -e "$DATA/start-anyway" ] && rm -f "$DATA/start-anyway" && break
            [ $((waited % 10)) -eq 0 ] &&
                say "no failover after $waited s, and $survivor still holds data: promote it (scripts/switchover.py --takeover), or create $DATA/start-anyway to give that data up"
        fi
        sleep 0.5
    done
    say "nobody took over within $waited s and nobody holds newer data: starting from what is on disk"
}

# `appendonly` is switched in the running server alone, by convergence: a server that finds `yes` and no append-only file starts empty
# and overwrites the snapshot; one that finds `no` starts from a snapshot that may be old. So a node starts as it ran the last time
# (noted in its own file, by us at its start and by CONFIG REWRITE after a switch), and as declared on a new volume.
settle_append_only() {
    declared=$(sed -n 's/^appendonly //p' "$shared/declared.conf" | tail -n 1)
    append_only=$(sed -n 's/^appendonly //p' "$DATA/server.conf" 2>/dev/null | tail -n 1)
    log=$(ls -t "$DATA"/appendonlydir/*.aof 2>/dev/null | head -n 1)
    if [ -z "$append_only" ]; then # a new volume, or one of an earlier release: the newest data counts
        append_only=$declared
        [ -n "$log" ] && { [ ! -e "$DATA/dump.rdb" ] || [ "$log" -nt "$DATA/dump.rdb" ]; } && append_only=yes
    fi
    [ "$append_only" = yes ] && [ -z "$log" ] && [ -e "$DATA/dump.rdb" ] && append_only=no
    [ "$append_only" = "$declared" ] ||
        say "appendonly is $declared, but the data is as with $append_only: starting so, the next \`pulumi up\` switches"
}

# What differs from node to node: who it is, and what it announces.
own_lines() {
    printf 'proc-title-template "%s"\n' "$(identity)"
    if [ "$TOPOLOGY" = cluster ]; then
        printf 'cluster-announce-ip %s\ncluster-announce-port %s\ncluster-announce-bus-port %s\n' "$ADDRESS" "$PORT" "$BUS_PORT"
    else
        printf 'replica-announce-ip %s\nreplica-announce-port %s\n' "$ADDRESS" "$PORT"
    fi
}

# Until a restore is verified applications stay out, whatever restarts meanwhile (operations/backup/restore.py). The toolkit's own
# users are let in: replicas, sentinels and the restore itself need them.
fence() {
    [ -e "$DATA/fenced" ] || return 0
    replace "$DATA/fenced.acl" "$(sed -E '/^user (default|admin|replication|sentinel|monitor|backup) /!s/^user ([^ ]+) .*/user \1 reset off/' \
        "$shared/users.acl")"
    printf 'aclfile %s/fenced.acl\n' "$DATA"
    say "a restore has not ended: applications are kept out" >&2
}

settle_role() {
    restored= # for one start after a restore: it stopped all others, so there is nobody to ask and nobody to wait for
    rm "$DATA/restored" 2>/dev/null && restored=yes
    [ -z "$restored" ] && [ "$RESTART" = after-failover ] && was_primary && wait_for_failover
    role=
    if [ "$TOPOLOGY" != cluster ]; then
        if [ ! -s "$DATA/server.conf" ]; then
            # A blank node must not serve as an empty primary and empty its replicas: it waits to be told.
            role="replicaof 127.0.0.1 1"
        else
            role=$(kept_role)
            if [ -z "$role" ] && [ -z "$restored" ]; then
                new=$(primary_elsewhere)
                [ -n "$new" ] && role="replicaof $new $PORT" && say "$new is primary now: starting as its replica"
            fi
        fi
    fi
    held= # confirm.sh
    case $TOPOLOGY in sentinel | replication) [ -n "$role$restored" ] || held=yes ;; esac
    settle_append_only
    replace "$DATA/server.conf" "$(
        [ -z "$role" ] || printf '%s\n' "$role"
        printf 'include %s/declared.conf\n' "$shared"
        own_lines
        [ -z "$append_only" ] || printf 'appendonly %s\n' "$append_only"
        fence
        [ -z "$held" ] || hold_line
    )"
}

# What this volume belongs to, for the next stack that finds it (see topologies/guard.py).
write_identity() {
    version=$("$(server_binary)" --version)
    version=${version#*v=}
    replace "$DATA/identity" "$(printf 'stack=%s\ntopology=%s\nnode=%s\nshards=%s\nengine=%s\nversion=%s' \
        "$STACK" "$TOPOLOGY" "$NODE" "$SHARDS" "$ENGINE" "${version%% *}")"
}
