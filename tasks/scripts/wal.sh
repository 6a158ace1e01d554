# WAL for a recovery: decrypted as it comes in, one file after the other. VERB: begin, state.
# WORK (directory of the restore), NAMES (a line each, in the order in which they are wanted), USED (histories of which only the
# number counts, for they are to be had nowhere: a timeline of that number was there once), SEGMENT_BYTES, OWNER (the
# server's account), IDENTITY (age, a secret), STALL_S: seconds to wait for one. PGDATA: of the live server, whose timelines' histories
# are put beside, so that the recovery begins no timeline that is in use.
# It goes on in the background; `state` tells. What is decrypted already is not asked for again.
cd /
umask 077
job=$WORK/reading
into=$WORK/wal

one() { # the identity goes through a descriptor: it is in no file and in no process list
    printf '%s\n' "$IDENTITY" | age -d -i /dev/fd/3 "$1" 3<&0 # a here-document would be a file in some shells
}

plain() {
    file=$WORK/wal-parts/$1.age
    one "$file" >"$job/packed" && zstd -q -d -f "$job/packed" -o "$job/plain" || return 1
    case "$1" in
    *.history) ;;
    *)
        [ "$(stat -c %s "$job/plain")" -le "$SEGMENT_BYTES" ] || { echo "$1 is larger than a segment" >&2; return 1; }
        truncate -s "$SEGMENT_BYTES" "$job/plain" || return 1
        ;;
    esac
    chown "$OWNER:$(id -g "$OWNER")" "$job/plain" && sync "$job/plain" && mv "$job/plain" "$into/$1" && rm -f "$file" "$job/packed"
}

reading() {
    number=0
    for name in $NAMES; do
        turns=$((STALL_S * 10))
        while [ ! -e "$into/$name" ] && [ ! -e "$WORK/wal-parts/$name.age" ]; do
            turns=$((turns - 1))
            [ "$turns" -gt 0 ] || { echo "$name did not come within $STALL_S s" >&2; return 1; }
            sleep 0.1
        done
        [ -e "$into/$name" ] || plain "$name" || return 1
        number=$((number + 1))
        echo "$number" >"$job/number"
    done
    for history in $USED; do
        [ -e "$into/$history" ] || { : >"$into/$history" && chown "$OWNER:" "$into/$history"; } || return 1
    done
    for history in "$PGDATA"/pg_wal/*.history; do
        [ ! -f "$history" ] || [ -s "$into/${history##*/}" ] || { cp "$history" "$into/" && chown "$OWNER:" "$into/${history##*/}"; } || return 1
    done
    echo "$number" >"$job/done"
}

case "$VERB" in
begin)
    mkdir -p "$job" "$WORK/wal-parts" "$into" && chown "$OWNER:" "$into" || return 1
    chmod a+x "$WORK" "$(dirname "$WORK")" "$(dirname "$(dirname "$WORK")")"
    exec 8>>"$job/lock"
    flock -n 8 || return 0
    if [ -e "$job/done" ]; then # of what is wanted now, which may be more than what was wanted then
        for name in $NAMES; do [ -e "$into/$name" ] || rm -f "$job/done"; done
        [ ! -e "$job/done" ] || { echo "$NAMES" | grep -c . >"$job/done"; return 0; }
    fi
    for tool in age zstd; do command -v "$tool" >/dev/null || { echo "the command $tool is missing" >&2; return 1; }; done
    (trap '' HUP; reading) </dev/null >/dev/null 2>"$job/said" &
    ;;
state)
    [ ! -e "$job/lock" ] || (flock -n 8) 8>>"$job/lock" || echo "running=1"
    for name in number done; do echo "$name=$(cat "$job/$name" 2>/dev/null)"; done
    echo "said=$(grep -v '^$' "$job/said" 2>/dev/null | tail -n 1)"
    ls "$into" 2>/dev/null | sed 's/^/here=/'
    ls "$WORK/wal-parts" 2>/dev/null | sed -n 's/^\(.*\)\.age$/here=\1/p'
    ;;
esac
return 0
