# What comes of the stream of a set of kind "files": all of it, or WANTED alone (paths as tar quotes them, a line each; see
# files_list.sh). See unpack.sh. The stream is read twice: nothing is unpacked before all its names are known to be good.
tools_there() {
    tar --version 2>/dev/null | grep -q 'GNU tar' || { echo "GNU tar is missing" >&2; return 1; }
    [ "$(id -u)" = 0 ] || { echo "only root gives files back to their owners" >&2; return 1; }
}

reachable() { chmod 0700 "$WORK"; } # a setuid program of a set must serve nobody here

bare() { # what counts of a listing, however wide a version of tar makes its columns
    awk "$quoted"'{ names($0); print type, size, rest }' "$1"
}

take_out() {
    await "$WORK/parts/list.age" && one "$WORK/parts/list.age" | zstd -q -d -c >"$job/list" || return 1
    through listing -t --totals 2>"$job/totals" >"$job/listing" || { cat "$job/totals" >&2; return 1; }
    sed -n 's/^# //p' "$job/list" >"$job/listed"
    bare "$job/listing" >"$job/is"
    bare "$job/listed" >"$job/should"
    cmp -s "$job/is" "$job/should" || { echo "the list of the set is not that of its stream" >&2; return 1; }
    check_names "$job/listing" >"$job/bad" || { echo "refused: $(cat "$job/bad")" >&2; return 1; }
    choose "$job/list" "$WANTED" "$job" >"$job/bad" || { cat "$job/bad" >&2; return 1; }
    fits || return 1
    through tar -x -C "$INTO" --no-recursion --no-wildcards --unquote -T "$job/members" --same-owner --numeric-owner \
        --same-permissions --acls --xattrs '--xattrs-include=*' --delay-directory-restore -f - || return 1
    cd "$INTO" || return 1
    sha256sum --quiet --strict -c "$job/sums" >"$job/said.sums" 2>&1 || [ ! -s "$job/sums" ] ||
        { echo "not as it was backed up: $(head -n 1 "$job/said.sums")" >&2; return 1; }
    while IFS= read -r helper; do # a hard link that is wanted brought the file along, which is not
        named "$(printf '%s\n' "$helper" | sed 's/%/%%/g; s/\\"/"/g')"
        rm -f -- "$INTO/$name"
    done <"$job/helpers"
    cd /
}

fits() {
    need_kb=$(($(cat "$job/bytes") / 1024 + 1))
    all_kb=$(($(sed -n 's/^Total bytes read: \([0-9]*\).*/\1/p' "$job/totals") / 1024 + 1))
    [ "$need_kb" -le "$all_kb" ] || need_kb=$all_kb # files with holes take less than their size
    free_kb=$(df -Pk "$INTO" | awk 'NR == 2 { print $4 }')
    [ "$free_kb" -gt "$need_kb" ] || { echo "$INTO has $free_kb KiB free, and $need_kb are needed" >&2; return 1; }
}
