# Part of receive.sh: what has come is packed, encrypted, stored and noted.
plain_kb() { du -sk "$mem/wal" 2>/dev/null | cut -f 1; }

# What cannot be stored stays in memory, up to a limit; the servers keep the rest until there is room again.
bound() {
    [ "$(plain_kb)" -ge "$MOST_KB" ] || return 0
    ! alive || kill "$receiver"
    case "$wrong" in *'receiving waits'*) return 0 ;; esac
    wrong="${wrong:-too slow}; receiving waits, with $(plain_kb) KiB in memory"
}

store_whole() {
    for file in "$mem"/wal/*; do
        bound # before each: pg_receivewal goes on meanwhile, and a slow disk takes long
        name=${file##*/}
        case "$name" in
        *.history) place=${name%.history}/$name ;;
        *[!0-9A-F]*) continue ;;
        *)
            [ "$(stat -c %b "$file")" != 0 ] || continue # the mark of where to go on, not a segment
            place=${name%????????????????}/$name
            ;;
        esac
        if [ ! -e "$wal/$place.zst.age" ]; then
            came=$(date -r "$file" +%s.%N)
            store "$place" 0 "$came" "$job/list" <"$file" || return 1
            busy=1
            case "$name" in *.history) ;; *) echo "$came" >"$job/since" ;; esac
        fi
        case "$name" in
        *.history) ;;
        *)
            for one in $(segments); do
                case "$one" in *.partial) ;; *) [ ! "$one" \< "$name" ] || rm -f "$mem/wal/$one" ;; esac
            done
            truncate -s 0 "$file" && truncate -s "$SEGMENT_BYTES" "$file"
            ;;
        esac
    done
}

# Standard input becomes a file of the site: PLACE below the archive, END of a growing segment, the time it came, the list.
store() {
    out=$wal/$1.zst.age
    mkdir -p "${out%/*}" 2>"$mem/why" || { echo "cannot write $SITE: $(last_words_in "$mem/why")" >"$mem/wrong"; return 1; }
    rm -f "$mem/failed"
    { zstd -q "-$LEVEL" -c || echo 1 >"$mem/failed"; } | age -e -R "$mem/recipients" -o "$out.came.part" 2>"$mem/why"
    if [ $? != 0 ] || [ -e "$mem/failed" ] || ! sync "$out.came.part" 2>>"$mem/why"; then
        echo "cannot write $SITE: $(last_words_in "$mem/why")" >"$mem/wrong"
        rm -f "$out.came.part"
        return 1
    fi
    name=${1##*/}
    sha256=$(sha256sum <"$out.came.part") md5=$(md5sum <"$out.came.part")
    note=$(printf '%s\t%s\t%s\t%s\t%s\t%s\t%s' "${name%-*}" "$2" "$(stat -c %s "$out.came.part")" "${sha256%% *}" "${md5%% *}" "$(cat "$job/since")" "$3")
    # Noted first: a file without a note would never be signed, a note without a file is passed over.
    [ "$2" != 0 ] || [ -z "$(tail -c 1 "$4" 2>/dev/null)" ] || echo >>"$4"
    if [ "$2" = 0 ]; then printf '%s\n' "$note" >>"$4"; else printf '%s\n' "$note" >"$4.new"; fi && mv "$out.came.part" "$out" &&
        sync "${out%/*}" || { echo "cannot write $job or $SITE" >"$mem/wrong"; rm -f "$out.came.part"; return 1; }
    [ "$2" = 0 ] || mv "$4.new" "$4"
}

# The segment that grows, as far as it has come, and zeros after that.
store_growing() {
    partials=$(segments | grep partial) # seen once: pg_receivewal goes on meanwhile
    newest=$(printf '%s\n' "$partials" | tail -n 1)
    for one in $partials; do
        if [ "${one%????????????????.partial}" != "${newest%????????????????.partial}" ] && grow "$one"; then
            rm -f "$mem/wal/$one" # of a timeline that has ended
        fi
    done
    [ -z "$newest" ] || grow "$newest"
    tidy
}

grow() { # FILE.partial
    file=$mem/wal/$1 segment=${1%.partial}
    mark="$1 $(stat -c %y "$file" 2>/dev/null)"
    [ "$mark" != "$flushed" ] || return 0
    came=$(date -r "$file" +%s.%N 2>/dev/null) || return 0 # it has just become whole
    bytes=$(received "$file")
    [ "${bytes:-0}" -gt 0 ] || return 0
    end=$(($(number_of "$segment") * SEGMENT_BYTES + bytes))
    place=partial/$segment-$(printf %016X "$end")
    if ! growing || [ "$stands" != "$place.zst.age" ]; then
        command exec 6<"$file" || return 0
        { head -c "$bytes" <&6; head -c $((SEGMENT_BYTES - bytes)) /dev/zero; } | store "$place" "$end" "$came" "$job/growing"
        code=$?
        exec 6<&-
        [ "$code" = 0 ] || return 1
    fi
    flushed=$mark
    printf '%s\n' "$flushed" >"$mem/flushed"
}

# How many bytes have come: every page that was begun starts with its magic number, and pages come in order.
received() {
    low=0 high=$((SEGMENT_BYTES / 65536))
    while [ "$low" -lt "$high" ]; do
        middle=$(((low + high) / 2))
        case "$(od -An -tx1 -j $((middle * 65536)) -N 2 "$1")" in *[1-9a-f]*) low=$((middle + 1)) ;; *) high=$middle ;; esac
    done
    [ "$low" -gt 0 ] || return 0
    od -An -v -tx8 -w8 -j $(((low - 1) * 65536)) -N 65536 "$1" |
        awk -v before=$(((low - 1) * 65536)) '/[1-9a-f]/ { last = NR } END { print before + last * 8 }'
}

# Of what has grown since, or is whole by now, only the one stays that other sites are given at this moment.
tidy() {
    (
        flock 7
        for file in "$wal"/partial/*.zst.age; do
            name=${file##*/} segment=${name%%-*}
            [ -e "$file" ] && [ "partial/$name" != "$(cat "$job/pinned" 2>/dev/null)" ] || continue
            if [ -e "$wal/${segment%????????????????}/$segment.zst.age" ]; then rm -f "$file"; continue; fi
            for other in "$wal/partial/$segment"-*.zst.age; do
                [ ! "$other" \> "$file" ] || { rm -f "$file"; break; }
            done
        done
        keep=$(cut -f 1 "$job/growing" 2>/dev/null)
        [ ! -e "$wal/${keep%????????????????}/$keep.zst.age" ] || rm -f "$job/growing"
    ) 7>>"$job/pin.lock"
}

growing() { # the line of the growing segment, with its file's name
    [ -s "$job/growing" ] || return 1
    note=$(cat "$job/growing")
    rest=${note#*"$tab"}
    stands=$(printf 'partial/%s-%016X.zst.age' "${note%%"$tab"*}" "${rest%%"$tab"*}")
    [ -e "$wal/$stands" ]
}

# The notes after the first SEEN whose file is there, and how many were seen. A file comes a moment after its note, and none is
# there while the site is not mounted: notes after the last file are seen later. Those before it were let go.
notes() {
    [ -e "$job/list" ] || { echo "seen=0"; return 0; }
    lines=$(cat "$job/list") # at one moment: of two notes in it, the first one's file is there
    echo "list=$(stat -c %i "$job/list")"
    total=$(wc -l <"$job/list")
    number=$SEEN
    [ "$total" -ge "$SEEN" ] || { echo "seen=$total"; return 0; }
    seen=$SEEN
    printf '%s\n' "$lines" | tail -n +"$((SEEN + 1))" | {
        while IFS=$tab read -r name rest; do
            number=$((number + 1))
            case "$name" in *.history) place=${name%.history} ;; *) place=${name%????????????????} ;; esac
            [ -n "$name" ] && [ -e "$wal/$place/$name.zst.age" ] || continue
            seen=$number
            printf 'entry=%s\t%s\n' "$name" "$rest"
        done
        echo "seen=$seen"
    }
}

cut_list() { # of many notes, old ones that are signed; whoever counts them knows another list by its number
    [ -e "$job/list" ] && total=$(wc -l <"$job/list") && [ "$total" -gt 20000 ] || return 0
    read -r list signed 2>/dev/null <"$job/signed" || return 0
    [ "$list" = "$(stat -c %i "$job/list")" ] || return 0
    keep=$((total - signed))
    [ "$keep" -ge 10000 ] || keep=10000
    [ "$keep" -lt "$total" ] || return 0
    tail -n "$keep" "$job/list" >"$job/list.new" && mv "$job/list.new" "$job/list"
}
