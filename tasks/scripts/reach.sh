# What can be reached from here; after reacher.sh. WAYS: a line each, `tcp ADDRESS PORT`, `icmp ADDRESS`, `flow ADDRESS PORT`; LIMIT_S for
# each, all of them at once; TOTAL_S for all. Facts: `way:NAME:WAY=open|refused` a way that was reached; `no:NAME:KIND=1` a kind that
# cannot be tried here (tcp4, icmp6, flow4); `mine:ADDRESS=1` one of these addresses is this host's own; `done:NAME=1` all was tried, and
# what is not named was not reached; `begun:NAME=1` in another network it was begun. VERB:
# try      try them now
# keep     likewise, and keep a connection open for each flow, for at most KEEP_S, by a process that ends with that
# pass     likewise, and say which of the flows that were kept pass (refused: were answered by a reset); they end with that
# out      what this host reaches itself, and (NAME `guest N`) every other network that processes of it live in, as containers do
python=$(command -v python3) || python=
MOST_GUESTS=16 MOST_JOBS=32

with_python() { # with_python VERB NAME [COMMAND…]
    verb=$1 name=$2
    shift 2
    printf '%s\n' "$WAYS" | timeout -k 1 "$TOTAL_S" "$@" "$python" -I -c "$reacher" "$verb" "$LIMIT_S" "$name" "$RUN" "$KEEP_S"
}

# Without python3: bash and ping, a process a way, so many at a time. With COMMAND they run in another network.
bare() { # bare NAME [COMMAND…]
    name=$1 jobs=0
    shift
    bash=$(command -v bash) || printf 'no:%s:tcp4=1\nno:%s:tcp6=1\n' "$name" "$name"
    ping=$(command -v ping) || printf 'no:%s:icmp4=1\nno:%s:icmp6=1\n' "$name" "$name"
    printf 'no:%s:flow4=1\nno:%s:flow6=1\n' "$name" "$name"
    held=" $(ip -o addr show 2>/dev/null | awk '$3 ~ /^inet/ { split($4, a, "/"); printf "%s ", a[1] }') "
    for address in $(printf '%s\n' "$WAYS" | awk '{ print $2 }' | sort -u); do
        case "$held" in *" $address "*) echo "mine:$address=1" ;; esac
    done
    printf '%s\n' "$WAYS" | {
        while read -r kind address port; do
            case "$kind${bash:+ b}${ping:+ p}" in
            'tcp b'*) dial "$@" & ;;
            icmp*p) echoes "$@" & ;;
            *) continue ;;
            esac
            jobs=$((jobs + 1))
            [ "$((jobs % MOST_JOBS))" != 0 ] || wait
        done
        wait
    }
    echo "done:$name=1"
}
dial() {
    said=$(timeout "$LIMIT_S" "$@" "$bash" --norc -c ": </dev/tcp/$address/$port" 2>&1) && echo "way:$name:tcp $address $port=open"
    case "$said" in *refused* | *reset*) echo "way:$name:tcp $address $port=refused" ;; esac
}
echoes() {
    timeout "$((LIMIT_S + 1))" "$@" "$ping" -n -c 2 -i 0.3 -W "$LIMIT_S" "$address" >/dev/null 2>&1 && echo "way:$name:icmp $address=open"
}

attempt() { # attempt VERB NAME [COMMAND…]
    if [ -n "$python" ]; then with_python "$@"; else shift && bare "$@"; fi
    return 0
}

# A process of each other network that this host's own processes live in, the oldest: `PID NETWORK`. One find for all of /proc.
guests() {
    find /proc -maxdepth 3 -path '/proc/[0-9]*/ns/net' -printf '%h %l\n' 2>/dev/null | sed 's,^/proc/\([0-9]*\)/ns ,\1 ,' | sort -n |
        awk -v mine="$(readlink /proc/self/ns/net)" '$2 != "" && $2 != mine && !seen[$2]++'
}
out() {
    attempt try itself &
    [ "$(id -u)" = 0 ] || echo no:itself:guests=1
    number=0
    for pid in $(guests | awk '{ print $1 }'); do
        number=$((number + 1))
        [ "$number" -le "$MOST_GUESTS" ] || { echo no:itself:guests=1; break; }
        echo "begun:guest $number=1"
        attempt try "guest $number" nsenter -t "$pid" -n -- &
    done
    wait
}

case "$VERB" in
try | keep | pass) attempt "$VERB" - ;;
out) out ;;
*) echo "no such verb: $VERB" >&2 && return 2 ;;
esac
