# Files of this host are put where nothing can run or read them, or back. VERB: state, take, back. FILES, one a line, without
# line breaks in them; RUN, TURN.
#
# Each goes into a directory that only root enters, on its own file system, so that one rename moves it and the way back is one
# too; with mode 000, for other hard links to it stay where they are. What it was stands in a note beside: written before it moves.
umask 077
cd / || return 1
kept=$STATE/quarantine/$RUN/$TURN
note_of() { note=$kept/$(printf '%s' "$file" | sha256_in | cut -c 1-24); }
noted() { sed -n "s/^$1=//p" "$note" 2>/dev/null | head -n 1; }
mount_of() { findmnt -n -o TARGET --target "$1" 2>/dev/null || stat -c %m -- "$1"; } # stat does not see bind mounts
inode() { stat -L -c '%d:%i' -- "$1" 2>/dev/null; }
each() { printf '%s\n' "$FILES" | while IFS= read -r file; do [ -z "$file" ] || { note_of; "$1" || return 1; }; done; }

# The files that this host could not be reached without: what its first process and this session run by.
lifelines() {
    above=$$ of=
    for _ in 1 2 3 4 5 6; do
        of="$of /proc/$above/exe /proc/$above/map_files/*"
        above=$(awk '$1 == "PPid:" { print $2 }' "/proc/$above/status" 2>/dev/null)
        [ "${above:-1}" -gt 1 ] || break
    done
    stat -L -c '%d:%i' /proc/1/exe /proc/1/map_files/* $of /bin/sh /usr/sbin/sshd /usr/bin/sudo 2>/dev/null | sort -u
}

# Why a file must stay; empty where it may go.
needed() {
    case "$lifelines" in *"$(inode "$file")"*) echo "this host is reached by it: install its package again"; return ;; esac
    command -v dpkg-query >/dev/null 2>&1 || return 0
    for name in "$file" "${file#/usr}"; do
        package=$(dpkg-query -S -- "$name" 2>/dev/null | head -n 1)
        package=${package%%:*}
        [ -n "$package" ] || continue
        dpkg --verify "$package" 2>/dev/null | looked_for=$name awk '
            { sub(/^[^ ]+ +([a-z] +)?/, "") } $0 == ENVIRON["looked_for"] { found = 1 } END { exit !found }' \
            || echo "it is as its package $package brought it: a false alarm, or a bad package"
        return
    done
}

# A table of what runs, "pid inode" a line: by its program, and for an interpreter by the scripts that it was told to run.
running() {
    for dir in /proc/[0-9]*; do
        pid=${dir#/proc/}
        program=$(inode "$dir/exe") || continue
        [ -n "$program" ] || continue
        echo "$pid $program"
        case "$(readlink "$dir/exe" 2>/dev/null)" in
        */sh | */*sh | */python* | */perl* | */ruby* | */php* | */node* | */lua*)
            tr '\0' '\n' 2>/dev/null <"$dir/cmdline" | head -n 5 | while IFS= read -r word; do
                case "$word" in -* | '') ;; /*) [ ! -f "$word" ] || echo "$pid $(inode "$word")" ;;
                *) [ ! -f "$dir/cwd/$word" ] || echo "$pid $(inode "$dir/cwd/$word")" ;; esac
            done
            ;;
        esac
    done
}
pids_of() { printf '%s\n' "$table" | awk -v inode="$1" -v self="$$" '$2 == inode && $1 > 1 && $1 != self { print $1 }' | sort -u; }

state_one() {
    if [ -e "$note" ] && [ -e "$(noted place)" ] && ! same_again; then
        printf 'moved\t%s\t%s\n' "$(noted sha256)" "$file"
        for one in $(noted ended); do printf 'ended\t%s\t%s\n' "$one" "$file"; done
        sed -n 's/^link=//p' "$note" | while IFS= read -r other; do printf 'link\t%s\t%s\n' "$other" "$file"; done
    elif [ ! -e "$file" ] && [ ! -L "$file" ]; then
        printf 'gone\t\t%s\n' "$file"
    else
        why=$(needed)
        if [ -n "$why" ]; then printf 'left\t%s\t%s\n' "$why" "$file"; else printf 'there\t\t%s\n' "$file"; fi
    fi
}
same_again() { [ -e "$file" ] && [ "$(sha256_in <"$file")" = "$(noted sha256)" ]; } 2>/dev/null

# On the file's own file system: below ours where that is the same, else at its root, else a copy below ours.
place_of() {
    mount=$(mount_of "$file")
    root=$kept
    if [ "$mount" != "$(mount_of "$kept")" ] && [ "$mount" != / ]; then
        own=${mount%/}/.recoverd-quarantine
        if { [ -d "$own" ] && [ ! -L "$own" ] && [ "$(stat -c %u:%a "$own")" = 0:700 ]; } || mkdir -m 0700 "$own" 2>/dev/null; then root=$own; fi
    fi
    printf '%s/%s.%s.%s' "$root" "$RUN" "$TURN" "${note##*/}"
}

remember() {
    place=$(place_of)
    {
        printf 'path=%s\nplace=%s\nsha256=%s\ninode=%s\n' "$file" "$place" "$(sha256_in <"$file")" "$(inode "$file")"
        stat --printf='mode=%a\nuid=%u\ngid=%g\nsize=%s\nchanged=%Y\nlinks=%h\n' -- "$file"
        flags=$(lsattr -d -- "$file" 2>/dev/null | cut -d ' ' -f 1 | tr -cd ia)
        echo "flags=$flags"
        echo "ended=$(pids_of "$(inode "$file")" | tr '\n' ' ')"
        [ "$(stat -c %h -- "$file")" -le 1 ] || timeout 60 find "$(mount_of "$file")" -xdev -inum "$(stat -c %i -- "$file")" \
            ! -path "$file" -printf 'link=%p\n' 2>/dev/null
    } >"$note.new" && sync "$note.new" && mv "$note.new" "$note"
}

# All notes come first: of two hard links, the second would be noted with the mode that the first got.
note_one() { [ -e "$note" ] || [ ! -f "$file" ] || [ -L "$file" ] || [ -n "$(needed)" ] || remember; }

take_one() {
    [ -e "$note" ] || return 0
    if [ -f "$file" ] && { [ ! -e "$(noted place)" ] || same_again; }; then
        pids=$(pids_of "$(noted inode)")
        [ -z "$pids" ] || kill -STOP $pids 2>/dev/null # before it moves: who watches over it must not bring it back
        [ -z "$(noted flags)" ] || chattr "-$(noted flags)" -- "$file"
        mv -fT -- "$file" "$(noted place)" || return 1
    fi
    chmod 000 "$(noted place)" && sync "$(noted place)" || return 1
    end_one
}
end_one() {
    pids=$(pids_of "$(noted inode)")
    [ -z "$pids" ] || kill -KILL $pids 2>/dev/null
    return 0
}

take() {
    guard || return $?
    mkdir -p "$kept" || return 1
    lifelines=$(lifelines)
    table=$(running)
    each note_one || return 1
    each take_one || return 1
    table=$(running) # what began meanwhile
    each end_late || return 1
}
end_late() { [ ! -e "$note" ] || end_one; }

notes() { find "$STATE/quarantine/$RUN/$TURN" -maxdepth 1 -type f ! -name '*.*' 2>/dev/null | sort; }
changed() {
    for note in $(notes); do
        file=$(noted path) place=$(noted place)
        if [ -e "$file" ] || [ -L "$file" ]; then echo "there is a new $file"; fi
        [ -d "${file%/*}" ] || echo "the directory of $file is gone"
        [ -e "$place" ] || { echo "what was kept of $file is gone"; continue; }
        [ "$(sha256_in <"$place")" = "$(noted sha256)" ] || echo "what was kept of $file is not what was put there"
    done
}

back() {
    guard || return $?
    [ -d "$kept" ] || return 0
    if [ ! -e "$kept/going.back" ]; then
        found=$(changed | head -n 1)
        [ -z "$found" ] || { echo "the quarantine was changed since: $found" >&2; return 1; }
        : >"$kept/going.back" && sync "$kept/going.back" || return 1
    fi
    for note in $(notes); do
        file=$(noted path) place=$(noted place)
        if [ -e "$place" ]; then
            mv -nT -- "$place" "$file" || return 1
        fi
        chown -h "$(noted uid):$(noted gid)" -- "$file" && chmod "$(noted mode)" -- "$file" || return 1
        [ -z "$(noted flags)" ] || chattr "+$(noted flags)" -- "$file"
        rmdir "${place%/*}" 2>/dev/null
        rm -f "$note"
    done
    rm -rf "$kept"
    rmdir "$STATE/quarantine/$RUN" "$STATE/quarantine" 2>/dev/null
    return 0
}

state() {
    lifelines=$(lifelines)
    [ ! -d "$kept" ] || echo "kept=$(notes | wc -l)"
    each state_one
}

case "$VERB" in
state | take | back) "$VERB" ;;
*) echo "no such verb: $VERB" >&2 && return 2 ;;
esac
