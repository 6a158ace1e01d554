# Make the stopped server's data directory one that can follow the primary. VERB: rewind, copy, end, swap, swap_back, state.
# RUN, SOURCE (connection string without a password), SECRET (its password), SLOT, NEED_KB, TABLESPACES (old=new …).
# rewind and copy go on in the background, for they may take hours and outlive the one who asked; `state` tells.
cd /
job=$STATE/$SERVICE.rebuild
config=$STATE/$SERVICE.config
new=$PGDATA.recoverd-new
before=$PGDATA.before-$RUN
# There while a pg_rewind of the data directory did not come to its end; goes with the directory when that is swapped out.
unfit=$STATE/$SERVICE.unfit

# Settings of this host that lie in the data directory, once a run: a second attempt would find the primary's.
save_config() {
    [ "$(cat "$config/run" 2>/dev/null)" = "$RUN" ] && return 0
    rm -rf "$config" && mkdir -m 0700 "$config" "$config/files" || return 1
    for name in postgresql.conf postgresql.auto.conf pg_hba.conf pg_ident.conf conf.d; do
        [ ! -e "$PGDATA/$name" ] || cp -a "$PGDATA/$name" "$config/files/" || return 1
    done
    for path in "$PGDATA"/*.crt "$PGDATA"/*.key "$PGDATA"/*.pem; do
        [ ! -f "$path" ] || cp -a "$path" "$config/files/" || return 1
    done
    echo "$RUN" >"$config/run"
}

# standby.signal comes before anything else: without it the directory would start as a primary.
finish() {
    as_owner touch "$1/standby.signal" || return 1
    for kept in "$config"/files/*; do
        [ ! -e "$kept" ] || cp -a "$kept" "$1/" || return 1
    done
    sync && mv "$job.doing" "$job.done"
}

rewind() {
    PGPASSWORD=$SECRET
    export PGPASSWORD
    as_owner "$BIN/pg_rewind" -D "$PGDATA" --source-server="$SOURCE" && finish "$PGDATA" && rm -f "$unfit"
}

copy() {
    PGPASSWORD=$SECRET
    export PGPASSWORD
    rm -rf "$new" && mkdir -m 0700 "$new" && chown "$OS_USER:$(id -g "$OS_USER")" "$new" || return 1
    set -- -d "$SOURCE" -D "$new" -X stream -c fast --no-password
    [ -z "$SLOT" ] || set -- "$@" -S "$SLOT"
    [ ! -L "$PGDATA/pg_wal" ] || set -- "$@" --waldir="$(readlink -f "$PGDATA/pg_wal").$RUN"
    for pair in $TABLESPACES; do set -- "$@" -T "$pair"; done
    as_owner "$BIN/pg_basebackup" "$@" && finish "$new"
}

case "$VERB" in
state)
    (flock -n 8) 8>>"$job.lock" || echo "running=1"
    echo "doing=$(cat "$job.doing" 2>/dev/null)"
    echo "done=$(cat "$job.done" 2>/dev/null)"
    echo "said=$(grep -v '^$' "$job.log" 2>/dev/null | tail -n 1)"
    [ -d "$before" ] && [ -d "$PGDATA" ] && [ ! -d "$new" ] && echo "swapped=1"
    return 0
    ;;
rewind | copy)
    guard || return $?
    exec 8>>"$job.lock"
    flock -n 8 || return 0 # an earlier attempt goes on
    [ -z "$(server_pids)" ] || { echo "processes of the server are still there" >&2; return 1; }
    drop_stale_lock # pg_rewind starts the server for a moment where it was not shut down cleanly
    if [ "$VERB" = rewind ] && [ -e "$unfit" ]; then
        echo "an earlier pg_rewind did not come to its end, so the data directory cannot be used" >&2
        return 1
    fi
    free_kb=$(df -Pk "$(dirname "$PGDATA")" | awk 'NR==2{print $4}')
    [ "$VERB" = rewind ] || [ "$free_kb" -gt "$NEED_KB" ] ||
        { echo "a copy needs $NEED_KB KiB beside $PGDATA, and $free_kb are free" >&2; return 1; }
    [ "$VERB" = rewind ] || ! mountpoint -q "$PGDATA" || { echo "$PGDATA is a mount point: it cannot be swapped" >&2; return 1; }
    save_config || { echo "the settings in $PGDATA could not be saved" >&2; return 1; }
    rm -f "$job.done"
    [ "$VERB" = copy ] || echo "$RUN" >"$unfit" || return 1
    echo "$VERB $RUN" >"$job.doing" || return 1
    (trap '' HUP; "$VERB") 9>&- </dev/null >"$job.log" 2>&1 &
    ;;
end)
    guard || return $?
    case "$(cat "$job.doing" 2>/dev/null)" in
    "copy $RUN") return 0 ;;
    "copy "*) ;;
    *) return 0 ;; # a rewind is never ended from outside: it would leave the data directory unusable
    esac
    # Whoever has the job's lock open belongs to it; a frozen or hanging one has to go too.
    turns=50
    until (flock -n 8) 8>>"$job.lock"; do
        [ "$turns" -gt 0 ] || { echo "the copy of an earlier run does not end" >&2; return 1; }
        turns=$((turns - 1))
        holders=$(find /proc/[0-9]*/fd -maxdepth 1 -lname "$(readlink -f "$job.lock")" 2>/dev/null | cut -d/ -f3 | sort -u)
        [ -z "$holders" ] || kill -KILL $holders 2>/dev/null
        sleep 0.1
    done
    ;;
swap)
    guard || return $?
    [ -d "$new" ] || { [ -d "$before" ] && return 0; echo "there is no $new" >&2; return 1; }
    [ -z "$(server_pids)" ] || { echo "processes of the server are still there" >&2; return 1; }
    if [ ! -d "$before" ]; then
        if [ -d "$PGDATA" ]; then mv "$PGDATA" "$before"; else mkdir -m 0700 "$before"; fi || return 1 # its disk may be lost
    fi
    [ ! -e "$unfit" ] || mv "$unfit" "$before.unfit" || return 1
    mv "$new" "$PGDATA" && sync
    ;;
swap_back)
    guard || return $?
    [ -d "$before" ] || return 0
    [ -z "$(server_pids)" ] || { echo "processes of the server are still there" >&2; return 1; }
    if [ -d "$PGDATA" ]; then mv "$PGDATA" "$new.undone-$(date +%s)" || return 1; fi
    [ ! -e "$before.unfit" ] || mv "$before.unfit" "$unfit" || return 1
    mv "$before" "$PGDATA" && sync
    ;;
esac
