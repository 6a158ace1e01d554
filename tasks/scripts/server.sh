# Start, stop (VERB) or reload the server by its own supervisor. EPOCH, UNIT (may be empty), CONFIG_FILE (may be empty), LOG_FILE, MODE, TIMEOUT_S.
guard || return $?
[ "$VERB" != start ] || drop_stale_lock
if [ -n "$UNIT" ]; then
    case "$VERB" in
    start) systemctl start --no-ask-password "$UNIT" 9>&- ;;
    stop) systemctl stop --no-ask-password "$UNIT" 9>&- ;;
    esac
    return $?
fi
case "$VERB" in
start)
    if [ -n "$CONFIG_FILE" ]; then
        as_owner "$BIN/pg_ctl" -D "$PGDATA" -l "$LOG_FILE" -s -W -o "-c config_file=$CONFIG_FILE" start 9>&-
    else
        as_owner "$BIN/pg_ctl" -D "$PGDATA" -l "$LOG_FILE" -s -W start 9>&-
    fi
    ;;
stop)
    [ -n "$(postmaster_pid)" ] || return 0 # pg_ctl would signal whoever has the process id of a server that died
    as_owner "$BIN/pg_ctl" -D "$PGDATA" -s -w -t "$TIMEOUT_S" -m "$MODE" stop 9>&-
    ;;
esac
