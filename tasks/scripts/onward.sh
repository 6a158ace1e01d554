# Old data that is put back after other data has taken writes in its place: it goes on on a timeline that is newer than theirs, so
# that the WAL archive goes on, and nobody takes the branch that was given up for the newest one. VERB: mark, go.
# mark: while nothing may start the server yet; from then on nothing starts it but `go`, for recovery.signal asks for a restore_command.
# go: start it where nobody reaches it, until it has parted; then it is stopped, for its own supervisor to start. LOG_FILE, CONFIG_FILE, TIMEOUT_S.
cd /
onward=$PGDATA/recoverd-onward
newest_in() { # the newest timeline that directories of WAL know
    ls "$@" 2>/dev/null | sed -n 's/^\([0-9A-F]\{8\}\)\([0-9A-F]\{16\}\|\.history\).*$/\1/p' | sort | tail -n 1
}
in_production() { "$BIN/pg_controldata" -D "$PGDATA" | grep -q '^Database cluster state: *in production$'; }

guard || return $?
case "$VERB" in
mark)
    [ ! -d "$onward" ] || return 0
    ours=$(newest_in "$PGDATA/pg_wal/") theirs=$(newest_in "${PGDATA%/}".recoverd-undone-*/pg_wal/)
    [ -n "$ours" ] && [ -n "$theirs" ] && [ "$theirs" \> "$ours" ] || return 0
    rm -rf "$onward.new" && as_owner mkdir -m 0700 "$onward.new" || return 1
    one=$((0x$ours)) # PostgreSQL takes the first number of which there is no history: for its own use an empty one will do
    while [ "$one" -lt $((0x$theirs)) ]; do
        one=$((one + 1))
        as_owner touch "$onward.new/$(printf %08X "$one").history" || return 1
    done
    as_owner touch "$PGDATA/recovery.signal" && mv "$onward.new" "$onward" && sync
    ;;
go)
    [ -d "$onward" ] || return 0
    if [ -z "$(server_pids)" ] && [ -e "$PGDATA/recovery.signal" ]; then
        # They stay: a standby wants the history of every timeline up to its primary's. It must not have them before: it would follow.
        for history in "$onward"/*.history; do
            [ -e "$PGDATA/pg_wal/${history##*/}" ] || as_owner cp "$history" "$PGDATA/pg_wal/" || return 1
        done
        drop_stale_lock
        rm -f "$onward"/.s.PGSQL.*
        targets=
        for name in '' _name _time _xid _lsn; do targets="$targets -c recovery_target$name="; done
        [ -z "$CONFIG_FILE" ] || targets="$targets -c config_file=$CONFIG_FILE"
        as_owner "$BIN/pg_ctl" -D "$PGDATA" -l "$LOG_FILE" -s -W -o "-c restore_command=false -c recovery_target_timeline=current \
            -c primary_conninfo= -c listen_addresses= -c unix_socket_directories='$onward' $targets" start 9>&- >/dev/null || return 1
    fi
    turns=$((TIMEOUT_S * 10))
    while [ -e "$PGDATA/recovery.signal" ] || { [ -n "$(server_pids)" ] && ! in_production; }; do
        turns=$((turns - 1))
        [ "$turns" -gt 0 ] || { echo "the old data does not come to the end of its WAL within $TIMEOUT_S s" >&2; return 1; }
        sleep 0.1
        [ -n "$(server_pids)" ] || [ ! -e "$PGDATA/recovery.signal" ] || { echo "the old data does not start: see $LOG_FILE" >&2; return 1; }
    done
    [ -z "$(postmaster_pid)" ] || as_owner "$BIN/pg_ctl" -D "$PGDATA" -s -w -t "$TIMEOUT_S" -m fast stop 9>&- || return 1
    rm -rf "$onward" && sync
    ;;
esac
return 0
