# Take a backup set on this host: one stream of tar, packed by zstd, cut into parts, each encrypted by age before it is
# written anywhere. VERB: begin, state, end. SET, STAGE (directory of the parts), RECIPIENTS (a line each), PART_BYTES, LEVEL.
# Where the stream comes from, the file before this one says: `source_check` sets need_kb, `source_stream` writes it,
# `source_end` may add parts, `source_facts` tells about it.
# It goes on in the background, for it may take hours and outlive the one who asked; `state` tells.
cd /
umask 077
job=$STATE/backup/$SERVICE

finish() { # beside the stream, which goes on: what a part is known by; it is on disk before it is listed
    while read -r part; do
        sha256=$(sha256_in <"$part.coming") && md5=$(md5sum <"$part.coming") || return 1
        sync "$part.coming" && mv "$part.coming" "$part.age" || return 1
        printf '%s\t%s\t%s\t%s\n' "${part##*/}.age" "$(stat -c %s "$part.age")" "$sha256" "${md5%% *}" >>"$job/parts" || return 1
    done
}

stream() {
    recipients=$job/recipients
    printf '%s\n' "$RECIPIENTS" >"$recipients"
    printf 'age -e -R %s -o "$1.coming" && echo "$1"\n' "$recipients" >"$job/filter.sh"
    { source_stream; echo $? >"$job/code.source"; } |
        { zstd -q -T0 "-$LEVEL" -c; echo $? >"$job/code.zstd"; } |
        { split -b "$PART_BYTES" -a 6 --numeric-suffixes=1 --filter="sh $job/filter.sh \"\$FILE\"" - "$STAGE/part-"
          echo $? >"$job/code.split"; } |
        { finish; echo $? >"$job/code.finish"; }
    for stage in source zstd split finish; do
        [ "$(cat "$job/code.$stage")" = 0 ] || { words=$(last_words_in "$job/said"); echo "$stage ended with $(cat "$job/code.$stage"): $words" >>"$job/said"; return 1; }
    done
    source_end || return 1
    date +%s.%N >"$job/ended" && echo "$SET" >"$job/done"
}

case "$VERB" in
begin)
    guard || return $?
    mkdir -p "$job" "$STAGE" || return 1
    exec 8>>"$job/lock"
    flock -n 8 || return 0 # an earlier attempt goes on
    [ "$(cat "$job/done" 2>/dev/null)" != "$SET" ] || return 0
    source_check || return 1
    free_kb=$(df -Pk "$STAGE" | awk 'NR==2{print $4}')
    [ "$free_kb" -gt "$need_kb" ] || { echo "$STAGE has $free_kb KiB free, and a backup needs about $need_kb" >&2; return 1; }
    for tool in age zstd split sha256sum md5sum; do
        command -v "$tool" >/dev/null || { echo "the command $tool is missing" >&2; return 1; }
    done
    rm -f "$job"/done "$job"/ended "$job"/parts "$job"/code.* "$STAGE"/part-* "$STAGE"/list* # a stream cannot be taken up in its middle
    : >"$job/parts"
    echo "$SET" >"$job/set"
    date +%s.%N >"$job/begun"
    (trap '' HUP; stream) 9>&- </dev/null >/dev/null 2>"$job/shell" &
    ;;
state)
    [ ! -e "$job/lock" ] || (flock -n 8) 8>>"$job/lock" || echo "running=1"
    for name in set done begun ended; do echo "$name=$(cat "$job/$name" 2>/dev/null)"; done
    echo "said=$(last_words_in "$job/said")"
    source_facts
    sed 's/^/part=/' "$job/parts" 2>/dev/null | tail -n +"$((SEEN + 1))"
    ;;
end)
    guard || return $?
    [ "$(cat "$job/set" 2>/dev/null)" != "$SET" ] || rm -rf "$job"
    [ "$KEEP" = 1 ] || rm -rf "${STAGE:?}"
    ;;
esac
return 0
