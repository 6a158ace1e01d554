# Unpack a set whose parts come in one by one, and prove what came out. VERB: begin, state, room, clean.
# WORK (directory of the restore), PARTS (how many of the stream), INTO (where to), IDENTITY (age, a secret), STALL_S: seconds to
# wait for one part. What comes of the stream, the file before this one says: `tools_there`, and `take_out`, which ends well only
# where every file is proven.
# It goes on in the background; `state` tells. A stream cannot be taken up in its middle, so a second attempt begins anew,
# from parts that are here already.
cd /
umask 077
job=$WORK/unpack

one() { # the identity goes through a descriptor: it is in no file and in no process list
    printf '%s\n' "$IDENTITY" | age -d -i /dev/fd/3 "$1" 3<&0 # a here-document would be a file in some shells
}

await() {
    turns=$((STALL_S * 10))
    while [ ! -e "$1" ]; do
        turns=$((turns - 1))
        [ "$turns" -gt 0 ] || { echo "$1 did not come within $STALL_S s" >&2; return 1; }
        sleep 0.1
    done
}

stream() {
    number=1
    while [ "$number" -le "$PARTS" ]; do
        file=$WORK/parts/part-$(printf %06d "$number").age
        await "$file" && one "$file" || return 1
        echo "$number" >"$job/number"
        number=$((number + 1))
    done
}

flush() { # to disk while it comes, and while it is verified: the kernel would leave all of it for the end
    read -r _ _ _ above _ </proc/self/stat
    while read -r _ _ _ now _ </proc/self/stat && [ "$now" = "$above" ] && [ -d "$INTO" ]; do # while the one who began it lives
        sleep 1
        sync -f "$INTO" 2>/dev/null
    done
}

unpack() {
    rm -rf "$INTO" && mkdir -p "$INTO" && chmod 0700 "$INTO" || return 1
    flush 8>&- &
    flushing=$!
    take_out
    taken=$?
    kill "$flushing" 2>/dev/null
    wait "$flushing" 2>/dev/null
    [ "$taken" = 0 ] && sync -f "$INTO" && echo "$PARTS" >"$job/done"
}

# The stream of the set into a command; what of age, zstd and the command failed first is said.
through() {
    { stream; echo $? >"$job/code.age"; } | { zstd -q -d -c; echo $? >"$job/code.zstd"; } | { "$@"; echo $? >"$job/code.tar"; }
    for stage in age zstd tar; do
        [ "$(cat "$job/code.$stage")" = 0 ] || { echo "$stage ended with $(cat "$job/code.$stage"): $(grep -v "^$" "$job/said" | head -n 1)" >&2; return 1; }
    done
}

at_work() { # processes of the jobs that unpack and that decrypt WAL: all of them hold its lock
    real=$(readlink -m "$WORK")
    find /proc/[0-9]*/fd -maxdepth 1 \( -lname "$real/unpack/lock" -o -lname "$real/reading/lock" \) 2>/dev/null | cut -d/ -f3 | sort -u
}

case "$VERB" in
begin)
    mkdir -p "$job" "$WORK/parts" || return 1
    reachable
    exec 8>>"$job/lock"
    flock -n 8 || return 0
    [ ! -e "$job/done" ] || return 0
    for tool in age zstd tar; do command -v "$tool" >/dev/null || { echo "the command $tool is missing" >&2; return 1; }; done
    tools_there || return 1
    rm -f "$job"/code.* "$job/number"
    (trap '' HUP; unpack) </dev/null >/dev/null 2>"$job/said" &
    ;;
state)
    [ ! -e "$job/lock" ] || (flock -n 8) 8>>"$job/lock" || echo "running=1"
    for name in number done; do echo "$name=$(cat "$job/$name" 2>/dev/null)"; done
    echo "said=$(last_words_in "$job/said")"
    [ ! -d "$INTO" ] || echo "data=1"
    ls "$WORK/parts" 2>/dev/null | grep '^\(part-[0-9]*\|list\)\.age$' | sed 's/^/here=/'
    ;;
room)
    place=$WORK
    while [ ! -d "$place" ]; do place=$(dirname "$place"); done
    df -Pk "$place" | awk 'NR==2{print "work_kb=" $4; print "work_device=" $1}'
    place=$INTO
    while [ ! -d "$place" ]; do place=$(dirname "$place"); done
    df -Pk "$place" | awk 'NR==2{print "data_kb=" $4; print "device=" $1}'
    ;;
clean) # INTO is that of this restore alone, by its name. What works there in the background is ended first.
    for signal in TERM KILL; do
        turns=20
        while [ "$turns" -gt 0 ] && pids=$(at_work) && [ -n "$pids" ]; do
            [ $((turns % 10)) -ne 0 ] || kill -"$signal" $pids 2>/dev/null
            sleep 0.1
            turns=$((turns - 1))
        done
    done
    [ -z "$(at_work)" ] || { echo "processes at work in $WORK do not end" >&2; return 1; }
    case "$INTO" in "$WORK/data" | *.recoverd-new-"$(basename "$WORK")") rm -rf "${INTO:?}" ;; esac
    rm -rf "${WORK:?}"
    ;;
esac
return 0
