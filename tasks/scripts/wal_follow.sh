# Part of receive.sh: pg_receivewal, kept running against whichever server takes writes now. It streams without a slot, so that
# it is no synchronous standby and no position counts as safe before it is on the site; recoverd itself moves the slots.
last_words() { grep -e '^pg_receivewal:' -e ERROR -e FATAL "$mem/said" 2>/dev/null | grep -v -e disconnected -e 'ERROR: *$' | tail -n 1; }

alive() { is_receiver "$receiver"; }

is_receiver() { # a dead child keeps its name until somebody asks for it
    [ -n "$1" ] && read -r line 2>/dev/null <"/proc/$1/stat" || return 1
    case "$line" in *') Z'* | *') X'*) return 1 ;; *'(pg_receivewal)'* | *'(setpriv)'* | *'(sh)'*) return 0 ;; esac
    return 1
}

start() {
    [ "$(date +%s)" -ge "$again" ] || { wrong=$(cat "$mem/problem" 2>/dev/null); return 0; }
    [ -z "$receiver" ] || wrong="receiving broke off. $(last_words)"
    again=$(($(date +%s) + 2))
    [ "$(plain_kb)" -lt "$MOST_KB" ] || return 0
    identify && follow && seed || return 0
    setpriv --pdeathsig KILL -- "$BIN/pg_receivewal" -D "$mem/wal" -d "$SOURCE" -w --no-loop --status-interval=1 8>&- 2>"$mem/said" &
    receiver=$!
    echo "$receiver" >"$mem/receiver"
}

server() { timeout 30 "$BIN/psql" -X -q -A -t -w -F '|' -d "$SOURCE replication=true" -c "$1" 2>"$mem/asked" 8>&-; }

# The server that takes writes now must be of this cluster.
identify() {
    told=$(server IDENTIFY_SYSTEM) && [ -n "$told" ] || { wrong="no server that takes writes: $(tail -n 1 "$mem/asked")"; return 1; }
    found=${told%%|*} told=${told#*|}
    timeline=${told%%|*} told=${told#*|}
    at=${told%%|*}
    position=$((0x${at%/*} * 4294967296 + 0x${at#*/}))
    [ "$found" = "$SYSTEM" ] || { wrong="the server is of another cluster: $found"; return 1; }
}

number_of() { # the place of a segment in the stream, by its name
    name=${1#????????}
    echo $((0x${name%????????} * (4294967296 / SEGMENT_BYTES) + 0x${name#????????}))
}

name_of() { # timeline, number
    printf '%08X%08X%08X\n' "$1" $(($2 / (4294967296 / SEGMENT_BYTES))) $(($2 % (4294967296 / SEGMENT_BYTES)))
}

segments() { ls "$mem/wal" 2>/dev/null | grep -E '^[0-9A-F]{24}(\.partial)?$'; }
stored() { # the newest, of all timelines or of one, that is on this site or, by the signed index, on another: this disk may be a new one
    {
        ls "$wal" 2>/dev/null | grep -E '^[0-9A-F]{8}$' | while read -r one; do ls "$wal/$one"; done | sed -n 's/^\([0-9A-F]\{24\}\)\.zst\.age$/\1/p'
        cat "$mem/after" 2>/dev/null
    } | grep "^${1:-.}" | sort | tail -n 1
}

# A server on a newer timeline gives what we lack of ours only up to where its own parted from it. What came to us beyond
# that is on a branch that has ended: go on where the new one begins. Likewise where ours ends with a segment, for there is
# nothing of it left to be given, and pg_receivewal takes that for an error. Where the new one does not come of ours at all,
# what we lack of its parent comes first.
follow() {
    newest=$(segments | tail -n 1)
    [ -n "$newest" ] || newest=$(stored)
    [ -n "$newest" ] || return 0
    bare=${newest%.partial}
    ours=$((0x${bare%????????????????}))
    [ "$timeline" -ge "$ours" ] || { wrong="the server is on timeline $timeline, and WAL of timeline $ours has come"; return 1; }
    [ "$timeline" -gt "$ours" ] || return 0
    next=$(number_of "$bare")
    [ "$bare" != "$newest" ] || next=$((next + 1))
    server "TIMELINE_HISTORY $timeline" >"$mem/history" || { wrong="no history of timeline $timeline: $(tail -n 1 "$mem/asked")"; return 1; }
    sed -i '1s/^[^|]*|//' "$mem/history"
    parent='' parted='' child=$timeline
    while read -r line at rest; do
        case "$line" in '' | *[!0-9]*) continue ;; esac
        [ -z "$parent" ] || [ "$child" != 0 ] || child=$line
        if [ "$line" = "$ours" ] || { [ "$line" -lt "$ours" ] && [ -d "$wal/$(printf %08X "$line")" ]; }; then
            parent=$line parted=$at child=0
        fi
    done <"$mem/history"
    [ "$child" != 0 ] || child=$timeline
    if [ -z "$parent" ]; then # nothing that is here leads to it
        plant "$(name_of "$timeline" $((position / SEGMENT_BYTES - 1)))"
        return $?
    fi
    high=${parted%/*} low=${parted#*/}
    parted=$((0x$high * 4294967296 + 0x$low))
    if [ "$parent" = "$ours" ]; then
        [ $((next * SEGMENT_BYTES)) -ge "$parted" ] || return 0
    else
        last=$(stored "$(printf %08X "$parent")")
        if [ -n "$last" ] && [ $((($(number_of "$last") + 1) * SEGMENT_BYTES)) -lt $((parted / SEGMENT_BYTES * SEGMENT_BYTES)) ]; then
            plant "$last"
            return 0
        fi
    fi
    plant "$(name_of "$child" $((parted / SEGMENT_BYTES - 1)))"
}

# pg_receivewal begins after the newest whole segment in its directory; of that one it sees name and size alone.
# What is whole and not on the site yet stays, and is waited for: once it is gone from here nobody asks for it again.
plant() {
    for one in $(segments); do
        case "$one" in *.partial) continue ;; esac
        [ "$(stat -c %b "$mem/wal/$one")" = 0 ] || [ -e "$wal/${one%????????????????}/$one.zst.age" ] ||
            { wrong="$one is to be stored before another timeline is followed"; return 1; }
    done
    for one in $(segments); do rm -f "$mem/wal/$one"; done
    truncate -s "$SEGMENT_BYTES" "$mem/wal/$1"
}

seed() {
    if [ -f "$mem/skip" ]; then
        plant "$(cat "$mem/skip")" || return 1
        rm -f "$mem/skip"
    fi
    for one in $(segments); do # what was killed may have left a file short; pg_receivewal fills one up before WAL goes in
        case "$one" in
        *.partial) [ "$(stat -c %s "$mem/wal/$one")" = "$SEGMENT_BYTES" ] || truncate -s 0 "$mem/wal/$one" ;;
        *) [ "$(stat -c %b "$mem/wal/$one")" != 0 ] || truncate -s "$SEGMENT_BYTES" "$mem/wal/$one" ;;
        esac
    done
    [ -z "$(segments)" ] || return 0
    newest=$(stored)
    [ -z "$newest" ] || plant "$newest"
}
