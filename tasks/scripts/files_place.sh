# Put files that were unpacked beside into their places, or what was there back. After files_list.sh. VERB: look (what would be
# done, and why not), place, state, back. WORK (of the restore), KEEP (a directory for what was there), RUN, WANTED, EXCLUDE.
# Each file is written beside its place and renamed over it: there is the old one or the new one, never half of one.
cd /
umask 077
job=$WORK/unpack
data=$WORK/data
list=$job/entries
[ -e "$list" ] || list=$KEEP/entries
tab=$(printf '\t')

# Call "$1" with kind, name (relative to /) and target of every entry. Ends at the first that fails.
each() {
    while IFS=$tab read -r kind format to _; do
        named "$to" && target=$name && named "$format" && "$1" || return 1
    done <"$list"
}

there() { [ -e "/$name" ] || [ -L "/$name" ]; }
above() { parent=/${name%/*}; [ "$parent" != "/$name" ] || parent=/; }
is_dir() { [ -d "/$name" ] && [ ! -L "/$name" ]; }

allowed() {
    above
    while [ ! -e "$parent" ] && [ ! -L "$parent" ]; do parent=${parent%/*}; done
    [ "$(readlink -f "${parent:-/}")" = "${parent:-/}" ] || { echo "refused=/$name would be written through the link $parent"; return 1; }
    case "$kind" in
    d) ! there || is_dir || { echo "refused=/$name is no directory here"; return 1; } ;;
    - | h | l) [ ! -d "/$name" ] || [ -L "/$name" ] || { echo "refused=/$name is a directory here"; return 1; } ;;
    esac
}

count() {
    case "$kind" in
    d | a) ;;
    - | h | l) if there; then echo replaced; else echo new; fi ;;
    *) echo left ;;
    esac
}

room() { # for what is kept, and for what comes
    old_kb=$(each old_names | du -skc --files0-from=- 2>/dev/null | awk 'END { print $1 + 0 }')
    new_kb=$(du -sk "$data" | awk '{ print $1 }')
    mkdir -p "$KEEP" || return 1
    for place in "$KEEP" $(first_place); do
        free_kb=$(df -Pk "$place" | awk 'NR == 2 { print $4 }')
        [ "$free_kb" -gt $((old_kb + new_kb + 1024)) ] || { echo "refused=$place has $free_kb KiB free, and $((old_kb + new_kb)) are needed"; return 1; }
    done
}
old_names() { case "$kind" in - | h | l) ! there || printf '/%s\0' "$name" ;; esac; }
first_place() { # the file system that most probably gets it: where the first entry goes
    named "$(awk -F "$tab" '$1 != "a" { print $2; exit }' "$list")" && above
    while [ ! -d "$parent" ]; do parent=${parent%/*}; done
    case "$parent" in *[[:space:]]*) echo / ;; *) echo "${parent:-/}" ;; esac
}

# What stands in the directories that are put back, and the set does not have: it stays. Names as tar quotes them.
extras() {
    set -- --
    while IFS=$tab read -r kind format _; do
        named "$format"
        case "$kind" in d) case "$name" in "$last"/*) ;; *) last=$name; [ ! -d "/$name" ] || set -- "$@" "$name" ;; esac ;; esac
    done <"$list"
    [ $# -gt 1 ] || return 0
    excluding -c -v --sort=name --quoting-style=c -f /dev/null -C / "$@" 2>/dev/null | sed 's/^"//; s/"$//; s,/$,,' >"$job/here"
    awk -F "$tab" 'NR == FNR { known[$4] = 1; next } !($0 in known) { print "extra=/" $0 }' "$list" "$job/here"
}

keep() {
    above
    case "$kind" in
    d | a) there || printf '%s\n' "$format" >>"$KEEP/made"; return 0 ;;
    - | h | l) there || return 0 ;;
    *) return 0 ;;
    esac
    kept=$KEEP/files/$name
    [ ! -e "$kept" ] && [ ! -L "$kept" ] || return 0
    mkdir -p "$KEEP/files$parent" && rm -f "$KEEP/coming" && cp -a -- "/$name" "$KEEP/coming" && mv -T -- "$KEEP/coming" "$kept"
}

write() { # $1: what, to /$name
    above
    coming=${parent%/}/.recoverd-$RUN
    rm -f -- "$coming" && "$@" "$coming" && mv -fT -- "$coming" "/$name"
}

install() {
    case "$kind" in
    - | l) write cp -a -- "$data/$name" ;;
    h) if hard; then write ln -- "/$target"; else write cp -a -- "$data/$name"; fi ;;
    esac
}
hard() { [ "$data/$name" -ef "$data/$target" ] && [ -f "/$target" ] && cmp -s -- "$data/$target" "/$target"; }

directories() { # $1: of which kinds; with owner, mode, ACL and attributes
    awk -F "$tab" -v kinds="$1" 'index(kinds, $1) { name = $4; gsub(/\\"/, "\"", name); sub(/^-/, "\\055", name); print name }' "$list"
}
meta="--numeric-owner --acls --xattrs --xattrs-include=*"
copy_directories() { # $1: names for tar -T, $2: from, $3: to
    [ -s "$1" ] || return 0
    (set -f; tar -C "$2" $meta --no-recursion --unquote -T "$1" -cf - | tar -C "$3" $meta --same-owner -xpf -)
}

same() {
    case "$kind" in
    d | a) is_dir ;;
    - | h | l)
        if [ -L "$data/$name" ]; then [ "$(readlink -- "/$name")" = "$(readlink -- "$data/$name")" ]
        else [ -f "/$name" ] && [ ! -L "/$name" ] && cmp -s -- "/$name" "$data/$name"
        fi ;;
    esac
}

put_back() {
    case "$kind" in - | h | l) ;; *) return 0 ;; esac
    kept=$KEEP/files/$name
    if [ -e "$kept" ] || [ -L "$kept" ]; then write cp -a -- "$kept"; else rm -f -- "/$name"; fi
}

go_back() {
    rm -f "$KEEP/placed"
    each put_back || { echo "/$name could not be put back: it is kept in $KEEP/files" >&2; return 1; }
    copy_directories "$KEEP/directories" "$KEEP/files" / || return 1
    sort -r "$KEEP/made" | while IFS= read -r format; do named "$format"; rmdir -- "/$name" 2>/dev/null; done
    sync
    rm -f "$KEEP/complete" && sync # first: a half of what was kept must never count as all that was there
    rm -rf "${KEEP:?}"
}

case "$VERB" in
look)
    each allowed && room || return 0
    each count | sort | uniq -c | awk '{ print $2 "=" $1 }'
    each old_names | tr '\n\0' '?\n' | sed 's/^/old=/' | head -n 200
    extras | head -n 200
    ;;
place)
    guard || return $?
    mkdir -p "$KEEP/files" && chmod 0700 "$KEEP" || return 1
    if [ ! -e "$KEEP/complete" ]; then
        each allowed >"$KEEP/why" || { sed 's/^refused=//' "$KEEP/why" >&2; return 1; }
        : >"$KEEP/made"
        each keep || { echo "not everything that is there could be kept in $KEEP" >&2; return 1; }
        directories da | while IFS= read -r line; do named "$(printf '%s\n' "$line" | sed 's/%/%%/g')"; ! is_dir || printf '%s\n' "$line"; done >"$KEEP/directories"
        copy_directories "$KEEP/directories" / "$KEEP/files" 2>/dev/null
        cp "$job/entries" "$KEEP/entries" && sync && : >"$KEEP/complete" && sync || return 1
    fi
    directories d >"$KEEP/set"
    directories a | while IFS= read -r line; do named "$(printf '%s\n' "$line" | sed 's/%/%%/g')"; is_dir || printf '%s\n' "$line"; done >"$KEEP/above"
    name=
    if copy_directories "$KEEP/above" "$data" / && copy_directories "$KEEP/set" "$data" / && each install &&
        copy_directories "$KEEP/set" "$data" /; then sync && : >"$KEEP/placed"; return $?; fi
    failed=/$name
    go_back || return 1
    echo "$failed could not be written; all of it is as it was before" >&2
    return 1
    ;;
state)
    [ ! -e "$KEEP/complete" ] || echo "kept=1"
    [ ! -e "$KEEP/placed" ] || echo "placed=1"
    [ ! -e "$job/entries" ] || { if each same; then echo "same=1"; else echo "other=/$name"; fi; }
    ;;
back)
    guard || return $?
    [ -e "$KEEP/complete" ] || { rm -rf "${KEEP:?}"; return 0; }
    go_back || return 1
    ;;
esac
return 0
