# Put restored data in the place of the stopped server's data directory, or back. VERB: state, place (looks at volumes too), swap, swap_back.
# NEW (restored, beside PGDATA), KEPT (where the old data directory goes), RUN; SET_AUTO: postgresql.auto.conf as the backup set has it.
# Only renames, so that a half of it is never there; the mark tells which of them were done when it was broken off: a line a run,
# "RUN dressing", "RUN moving", "RUN in place" or "RUN back", the newest last. What says "back" is never swapped any more, so that a
# swap that was late, or is asked for twice, changes nothing after it. Only read behind the guard is it the last word.
cd /
marks=$STATE/$SERVICE.replaced
unfit=$STATE/$SERVICE.unfit # there while a pg_rewind did not come to its end; it goes with the data that it is about

# What this run's line says; "superseded" where a later run has put its data over that of this one.
mark_of_run() {
    awk -v run="$RUN" '$1 == run { mine = $0; next } mine != "" && ($2 == "in" || $2 == "moving") { mine = run " superseded" }
        END { print mine }' "$marks" 2>/dev/null
}

# Whether another run was broken off between its renames.
other_moving() {
    awk -v run="$RUN" '$1 != run && $2 == "moving" { print $1; exit }' "$marks" 2>/dev/null
}

set_mark() {
    { [ ! -e "$marks" ] || awk -v run="$RUN" '$1 != run' "$marks"; } >"$marks.new" && echo "$RUN $1" >>"$marks.new" &&
        sync "$marks.new" && mv "$marks.new" "$marks" || { echo "cannot write $marks" >&2; return 1; }
}

# The settings of this host that lie in its data directory; where that is lost, those of the set.
dress() {
    if [ -e "$PGDATA/postgresql.conf" ] || [ -e "$PGDATA/postgresql.auto.conf" ]; then
        for name in postgresql.conf pg_hba.conf pg_ident.conf conf.d; do
            [ -e "$PGDATA/$name" ] || continue
            rm -rf "${NEW:?}/$name" && cp -a "$PGDATA/$name" "$NEW/" || return 1
        done
        for path in "$PGDATA"/*.crt "$PGDATA"/*.key "$PGDATA"/*.pem; do
            [ ! -f "$path" ] || cp -a "$path" "$NEW/" || return 1
        done
        auto=$PGDATA/postgresql.auto.conf
    else
        auto=$SET_AUTO
    fi
    true >"$NEW/postgresql.auto.conf.recoverd" || return 1
    if [ -e "$auto" ]; then # 1: no line is left; more: not all of it could be read or written
        grep -vE '^ *(primary_conninfo|primary_slot_name|recovery_target[a-z_]*) *=' "$auto" >"$NEW/postgresql.auto.conf.recoverd"
        [ $? -le 1 ] || return 1
    fi
    chmod 0600 "$NEW/postgresql.auto.conf.recoverd" && mv "$NEW/postgresql.auto.conf.recoverd" "$NEW/postgresql.auto.conf" || return 1
    rm -f "$NEW/standby.signal" "$NEW/recovery.signal" "$NEW/postmaster.pid" "$NEW/postmaster.opts"
    ! [ -L "$PGDATA/pg_wal" ] || move_wal || return 1
    chown -R "$OS_USER:$(id -g "$OS_USER")" "$NEW" && sync
}

# WAL has a file system of its own here. Broken off anywhere, one whole copy is there under a name that says so.
move_wal() {
    wal=$(readlink -f "$PGDATA/pg_wal").$RUN
    inside=$NEW/pg_wal.recoverd-moved
    if [ -d "$NEW/pg_wal" ] && [ ! -L "$NEW/pg_wal" ]; then
        rm -rf "$wal.new" && cp -a "$NEW/pg_wal" "$wal.new" && sync && rm -rf "$wal" && mv "$wal.new" "$wal" || return 1
        rm -rf "$inside" && mv "$NEW/pg_wal" "$inside" || return 1
    fi
    [ -L "$NEW/pg_wal" ] || { [ -d "$wal" ] && ln -s "$wal" "$NEW/pg_wal"; } || return 1
    sync && rm -rf "$inside"
}

# A volume that should be mounted where the data directory lies, or above it, and is not: it would come back over whatever is put
# there, with the old data on it. As /etc/fstab and systemd know them.
unmounted() {
    place=$(realpath -m "$PGDATA")
    awk '$1 !~ /^#/ && $2 ~ "^/." { print $2 }' /etc/fstab 2>/dev/null | while read -r target; do
        target=$(printf '%b' "$target") # a space is \040 there
        case "$place/" in "${target%/}/"*) mountpoint -q "$target" || echo "$target" ;; esac
    done
    command -v systemd-escape >/dev/null || return 0
    while [ "$place" != / ]; do
        unit=$(systemd-escape -p --suffix=mount "$place") && state=$(systemctl show -p LoadState -p ActiveState "$unit" 2>/dev/null) || state=
        case "$state" in *LoadState=loaded*) mountpoint -q "$place" || echo "$place" ;; esac
        place=$(dirname "$place")
    done
}

case "$VERB" in
state | place)
    [ -d "$PGDATA" ] && echo "there=1"
    [ ! -d "$NEW" ] || echo "new=1"
    [ ! -d "$KEPT" ] || echo "kept=1"
    mountpoint -q "$PGDATA" && echo "mountpoint=1"
    [ "$VERB" = state ] || echo "unmounted=$(unmounted | head -n 1)"
    [ -w "$(dirname "$PGDATA")" ] && echo "writable=1"
    echo "mark=$(mark_of_run)"
    ;;
swap)
    guard || return $?
    case "$(mark_of_run)" in
    "$RUN in place") return 0 ;;
    "$RUN moving") ;;
    "$RUN back") echo "the old data was put back, and stays" >&2; return 1 ;;
    "$RUN superseded") echo "a later run has replaced the data" >&2; return 1 ;;
    *)
        other=$(other_moving)
        [ -z "$other" ] || { echo "run $other was broken off between its renames: resume it, or undo it" >&2; return 1; }
        [ -d "$NEW" ] || { echo "there is no $NEW" >&2; return 1; }
        [ -z "$(server_pids)" ] || { echo "processes of the server are still there" >&2; return 1; }
        set_mark dressing || return 1
        dress || { echo "the settings could not be put into $NEW" >&2; return 1; }
        set_mark moving || return 1
        ;;
    esac
    if [ -d "$NEW" ]; then
        [ -z "$(server_pids)" ] || { echo "processes of the server are still there" >&2; return 1; }
        [ ! -d "$PGDATA" ] || [ -d "$KEPT" ] || mv "$PGDATA" "$KEPT" || return 1
        [ ! -e "$unfit" ] || mv "$unfit" "$KEPT.unfit" || return 1
        [ ! -d "$PGDATA" ] || { echo "$PGDATA is there again" >&2; return 1; }
        mv "$NEW" "$PGDATA" && sync || return 1
    fi
    set_mark "in place" || return 1
    ;;
swap_back)
    guard || return $?
    case "$(mark_of_run)" in
    "$RUN back") return 0 ;;
    "$RUN superseded") echo "a later run has replaced the data: undo that one first" >&2; return 1 ;;
    "$RUN moving" | "$RUN in place") ;;
    *) set_mark back; return $? ;; # nothing was renamed
    esac
    [ -z "$(server_pids)" ] || { echo "processes of the server are still there" >&2; return 1; }
    undone=$PGDATA.recoverd-undone-$RUN # users may have written there: it is kept too
    if [ ! -e "$undone" ] && [ ! -d "$NEW" ]; then mv "$PGDATA" "$undone" || return 1; fi
    if [ -d "$KEPT" ] && [ ! -d "$PGDATA" ]; then mv "$KEPT" "$PGDATA" || return 1; fi
    [ ! -e "$KEPT.unfit" ] || mv "$KEPT.unfit" "$unfit" || return 1
    sync && set_mark back || return 1
    ;;
esac
return 0
