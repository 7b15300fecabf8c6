# Shared by the scripts of a node. No password ever becomes an argument: clients read it from their environment.
DATA=/data

say() { printf '%s start.sh[%s]: %s\n' "$(date -u +%H:%M:%S)" "$NODE" "$*"; }
die() { say "$*" >&2; exit 78; }

server_binary() { command -v redis-server || command -v valkey-server || die "the image has neither redis-server nor valkey-server"; }

client_binary() { command -v redis-cli || command -v valkey-cli || die "the image has neither redis-cli nor valkey-cli"; }

# ask USER HOST PORT COMMAND…: one command, answer on standard output, empty when nobody answers within two seconds.
# Not with the client's own -t: redis-cli 7.0 does not know it.
ask() {
    user=$1 host=$2 port=$3
    shift 3
    read -r password < "$shared/$user.password"
    REDISCLI_AUTH=$password VALKEYCLI_AUTH=$password timeout 2 "$client" --no-auth-warning --user "$user" -h "$host" -p "$port" "$@" 2>/dev/null
    return 0
}
me() { ask admin 127.0.0.1 "$PORT" "$@"; }

# field NAME: the value of "NAME:value" in an INFO text on standard input.
field() {
    tr -d '\r' | while IFS=: read -r name value; do
        [ "$name" = "$1" ] && printf '%s\n' "$value" && break
    done
}

# replace FILE TEXT: whole or not at all, also when the disk is full or the power fails. Half a file would be a server without its
# role and without its users.
replace() {
    printf '%s\n' "$2" > "$1.new" && [ -s "$1.new" ] || die "cannot write $1: is the disk full?"
    sync "$1.new" 2>/dev/null || : # an image of one's own may have a `sync` that takes no file
    mv "$1.new" "$1" || die "cannot write $1: is the disk full?"
}

identity() { printf '%s redis-topologies:%s/%s' '{title} {listen-addr} {server-mode}' "$STACK" "$NODE"; }

seconds() { read -r up _ < /proc/uptime && printf '%s\n' "${up%.*}"; }

client=$(client_binary)
