# A sentinel owns its file; what it has learnt is kept, what is declared comes after it and wins.

write_sentinel_conf() {
    old=$DATA/sentinel.conf
    monitor=$(grep "^sentinel monitor $SERVICE " "$old" 2>/dev/null)
    replace "$old" "$(
        grep '^sentinel myid ' "$old" 2>/dev/null
        cat "$shared/declared.conf"
        printf 'sentinel announce-ip %s\nsentinel announce-port %s\n' "$ADDRESS" "$PORT"
        if [ -n "$monitor" ]; then
            # shellcheck disable=SC2086 # split into words on purpose
            set -- $monitor
            printf 'sentinel monitor %s %s %s %s\n' "$SERVICE" "$4" "$5" "$QUORUM"
            cat "$shared/service.conf"
            grep -E '^sentinel (config-epoch|leader-epoch|known-replica|known-slave|known-sentinel) ' "$old"
        fi
        grep '^sentinel current-epoch ' "$old" 2>/dev/null
    )"
}
