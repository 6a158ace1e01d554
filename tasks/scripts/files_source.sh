# Where the stream of a set of kind "files" comes from: GNU tar. See take.sh. PATHS, EXCLUDE (a line each).
# What the stream holds is read from the stream itself while it is made, so that the list is true of files that change meanwhile.
source_check() {
    tar --version 2>/dev/null | grep -q 'GNU tar' || { echo "GNU tar is missing" >&2; return 1; }
    : >"$job/paths"
    : >"$job/missing"
    wrong=$(printf '%s\n' "$PATHS" | while IFS= read -r path; do
        above=${path%/*}
        if [ -n "$above" ] && [ -e "$above" ] && [ "$(readlink -f "$above")" != "$above" ]; then
            echo "$path leads through a symbolic link: name $(readlink -f "$above")/${path##*/}"
        elif [ -e "$path" ] || [ -L "$path" ]; then printf '%s\n' "$path" >>"$job/paths"
        else printf '%s\n' "$path" >>"$job/missing"
        fi
    done | head -n 1)
    [ -z "$wrong" ] || { echo "$wrong" >&2; return 1; }
    [ -s "$job/paths" ] || { echo "none of its paths is there: $(paste -sd ' ' "$job/missing")" >&2; return 1; }
    need_kb=$(tr '\n' '\0' <"$job/paths" | du -skc --files0-from=- 2>/dev/null | awk 'END { print $1 }')
    echo "${need_kb:-0}" >"$job/data_kb"
    need_kb=$((${need_kb:-0} / 2 + 65536))
}

source_stream() {
    set -- --
    while IFS= read -r path; do set -- "$@" "${path#/}"; done <"$job/paths"
    rm -f "$job/tee" && mkfifo "$job/tee" && : >"$job/sums" || return 1
    (listing -x "--to-command=exec sha256sum >>'$job/sums'" >"$job/listing" 2>"$job/said.listing"
     echo $? >"$job/code.listing"
     cat >/dev/null) <"$job/tee" &
    { excluding -c --format=posix --numeric-owner --acls --xattrs '--xattrs-include=*' --sparse --sort=name --quoting-style=c -C / "$@" 2>"$job/said"
      echo $? >"$job/code.tar"; } | tee "$job/tee" || return 1
    wait
    [ "$(cat "$job/code.listing")" = 0 ] || { echo "the stream cannot be read back: $(tail -n 1 "$job/said.listing")" >>"$job/said"; return 1; }
    [ "$(cat "$job/code.tar")" -le 1 ] # 1: files changed or went while they were read, which is said
}

source_end() {
    make_list "$job/listing" "$job/sums" >"$job/list" || { echo "the stream does not hold what tar says of it" >>"$job/said"; return 1; }
    zstd -q "-$LEVEL" -c <"$job/list" | sh "$job/filter.sh" "$STAGE/list" >"$job/finished" && finish <"$job/finished"
}

source_facts() {
    echo "data_kb=$(cat "$job/data_kb" 2>/dev/null)"
    echo "files=$(wc -l <"$job/sums" 2>/dev/null)"
    sed 's/^/missing=/' "$job/missing" 2>/dev/null
    grep -E ': (file changed as we read it|File removed before we read it|File shrank by .*|file is the archive; not dumped)$' "$job/said" 2>/dev/null | sed 's/^tar: /changed=/' | head -n 50
}
