# Receive the WAL of a service on this host, which is none of its servers, and bring it to the site that is here. Plain bytes
# stand in memory alone (/dev/shm); only what age has encrypted is written to the site.
# VERB: begin, state, pin, skip, kick, stop. NAME: the service. SITE: the site's directory. BIN.
# begin: SOURCE (connection string without a password), PASSLINE, SYSTEM (the cluster's identifier), RECIPIENTS (a line each),
# LEVEL, SEGMENT_BYTES, FLUSH_S, MOST_KB (of plain bytes), CONFIG (a name for all of that); AFTER (the newest segment that a
# site has by the signed index), KNOWN (the index speaks of WAL). state: SEEN, SIGNED (a list, and how many of its notes are
# signed). skip: SEGMENT.
# It goes on in the background; `state` tells. The list of what was stored is on disk; all else of the job is in memory.
cd /
umask 077
job=$STATE/wal/$NAME
mem=/dev/shm/recoverd/$NAME
wal=$SITE/$NAME/wal
tab=$(printf '\t')

tend() {
    PGPASSFILE=$mem/passfile
    export PGPASSFILE
    receiver='' again=0 flushed='' wrong=''
    find "$wal" -name '*.came.part' -delete # half written by one that was killed
    while :; do
        wrong=''
        cut_list
        alive || start
        rm -f "$mem/wrong"
        busy=''
        store_whole && { [ -n "$busy" ] || store_growing; }
        [ ! -s "$mem/wrong" ] || wrong=$(cat "$mem/wrong")
        bound
        tell "$wrong"
        [ -n "$busy" ] || sleep "$FLUSH_S"
    done
}


tell() { [ "$1" = "$(cat "$mem/problem" 2>/dev/null)" ] || printf '%s\n' "$1" >"$mem/problem"; }

case "$VERB" in
begin)
    guard || return $?
    [ "$(stat -f -c %T /dev/shm 2>/dev/null)" = tmpfs ] || { echo "/dev/shm is not in memory, and plain WAL must not touch a disk" >&2; return 1; }
    for tool in age zstd sha256sum md5sum setpriv od awk truncate; do
        command -v "$tool" >/dev/null || { echo "the command $tool is missing" >&2; return 1; }
    done
    for tool in pg_receivewal psql; do
        [ -x "$BIN/$tool" ] || { echo "$BIN/$tool is missing" >&2; return 1; }
    done
    [ -z "$KNOWN" ] || [ -d "$wal" ] || { echo "$wal is not there, and the index speaks of WAL: is $SITE not mounted? On a new disk, make that directory" >&2; return 1; }
    mkdir -p "$job" "$mem/wal" "$wal/partial" || return 1
    exec 8>>"$job/lock"
    flock -n 8 || return 0
    rm -f "$mem/receiver" "$mem/problem" "$mem/said"
    most_kb=$(($(df -Pk /dev/shm | awk 'NR==2{print $2}') / 2))
    [ "$MOST_KB" -le "$most_kb" ] || MOST_KB=$most_kb
    [ -s "$job/since" ] || date +%s.%N >"$job/since" || return 1
    printf '%s\n' "$PASSLINE" >"$mem/passfile" && printf '%s\n' "$RECIPIENTS" >"$mem/recipients" && printf '%s\n' "$CONFIG" >"$mem/config" && printf '%s\n' "$AFTER" >"$mem/after" || return 1
    (trap '' HUP; tend) 9>&- </dev/null >/dev/null 2>"$mem/shell" &
    ;;
state)
    [ ! -e "$job/lock" ] || (flock -n 8) 8>>"$job/lock" || echo "running=1"
    echo "config=$(cat "$mem/config" 2>/dev/null)"
    ! is_receiver "$(cat "$mem/receiver" 2>/dev/null)" || echo "receiving=1"
    echo "said=$(last_words)"
    ! grep -q 'has already been removed' "$mem/said" 2>/dev/null || echo "removed=1"
    echo "problem=$(cat "$mem/problem" 2>/dev/null)"
    echo "plain_kb=$(plain_kb)"
    newest=$(segments | grep partial | tail -n 1)
    [ -z "$newest" ] || [ "$newest $(stat -c %y "$mem/wal/$newest" 2>/dev/null)" != "$(cat "$mem/flushed" 2>/dev/null)" ] || fresh=1
    for one in $(segments | grep -v partial); do
        [ "$(stat -c %b "$mem/wal/$one")" = 0 ] || fresh=
    done
    ! growing || echo "growing=$note"
    [ -z "${fresh:-}" ] || echo "fresh=1"
    for one in "$mem"/wal/*.history; do
        [ ! -f "$one" ] || echo "history=${one##*/} $(base64 -w 0 <"$one")"
    done
    [ -z "$SIGNED" ] || [ ! -d "$job" ] || printf '%s\n' "$SIGNED" >"$job/signed"
    notes
    ;;
pin)
    [ -d "$mem" ] || return 0
    (
        flock 7
        if growing; then
            echo "$stands" >"$job/pinned" && echo "pinned=$note"
        else
            rm -f "$job/pinned"
        fi
    ) 7>>"$job/pin.lock"
    ;;
skip)
    guard || return $?
    echo "$SEGMENT" >"$mem/skip" && : >"$mem/said"
    pid=$(cat "$mem/receiver" 2>/dev/null)
    ! is_receiver "$pid" || kill "$pid"
    ;;
kick)
    pid=$(cat "$mem/receiver" 2>/dev/null)
    ! is_receiver "$pid" || kill "$pid"
    ;;
stop)
    guard || return $?
    [ -e "$job/lock" ] || return 0
    turns=100
    until (flock -n 8) 8>>"$job/lock"; do
        [ "$turns" -gt 0 ] || { echo "the receiver of $NAME does not end" >&2; return 1; }
        turns=$((turns - 1))
        holders=$(find /proc/[0-9]*/fd -maxdepth 1 -lname "$(readlink -f "$job/lock")" 2>/dev/null | cut -d/ -f3 | sort -u)
        [ -z "$holders" ] || kill -KILL $holders 2>/dev/null
        sleep 0.1
    done
    [ "$KEEP" = 1 ] || rm -rf "${mem:?}"
    ;;
esac
return 0
