# The stopped server of this host, started as a standby of nobody, reachable through a private socket only.
# VERB: start (TIMELINE, END, LIMIT_S), query (DATABASE, SQL), stop. DB_USER.
# As a standby it replays its own WAL to the end and writes none: no crash recovery of its own making, no autovacuum,
# no pruning, nobody who could write. standby.signal, the fence against a start as a primary, stays where it is.
cd /
dir=$STATE/isolated-$SERVICE
ask() { as_owner env PGDATABASE="$1" "$BIN/psql" -X -q -A -t -v ON_ERROR_STOP=1 -h "$dir" -p "$PORT" -U "$DB_USER"; } # see scratch.sh

start() {
    [ ! -e "$PGDATA/PG_VERSION.fenced" ] || mv "$PGDATA/PG_VERSION.fenced" "$PGDATA/PG_VERSION" || return 1
    [ -e "$PGDATA/standby.signal" ] || as_owner touch "$PGDATA/standby.signal" || return 1
    mkdir -p "$dir" && chmod 0700 "$dir" && chown "$OS_USER" "$dir" || return 1
    echo 'local all all trust' >"$dir/pg_hba.conf" # the directory of the socket lets only the owner in
    chown "$OS_USER" "$dir/pg_hba.conf"
    options="-c listen_addresses='' -c unix_socket_directories='$dir' -c unix_socket_permissions=0700 -c port=$PORT"
    options="$options -c hba_file='$dir/pg_hba.conf' -c ssl=off -c external_pid_file='' -c cluster_name=isolated"
    options="$options -c hot_standby=on -c primary_conninfo='' -c primary_slot_name='' -c restore_command=''"
    options="$options -c archive_cleanup_command='' -c recovery_end_command='' -c recovery_min_apply_delay=0"
    options="$options -c recovery_target_timeline=$TIMELINE -c archive_mode=off -c autovacuum=off"
    options="$options -c wal_keep_size=1048576 -c max_slot_wal_keep_size=-1 -c max_logical_replication_workers=0"
    options="$options -c shared_preload_libraries='' -c session_preload_libraries='' -c local_preload_libraries=''"
    options="$options -c logging_collector=off -c log_destination=stderr -c log_statement=none -c statement_timeout=60s"
    [ -z "$CONFIG_FILE" ] || options="$options -c config_file='$CONFIG_FILE'"
    if [ -z "$(postmaster_pid)" ]; then
        drop_stale_lock
        as_owner "$BIN/pg_ctl" -D "$PGDATA" -l "$dir/log" -s -w -t "$LIMIT_S" -o "$options" start 9>&- >/dev/null 2>&1 ||
            { echo "it does not start: $(grep -E 'FATAL|PANIC|HINT' "$dir/log" | tail -n 2 | tr '\n' ' ')" >&2; return 1; }
    fi
    [ -e "$dir/.s.PGSQL.$PORT" ] || { echo "a server that is not isolated runs in $PGDATA" >&2; return 1; }
    until=$(($(date +%s) + LIMIT_S))
    while :; do
        at=$(echo "select pg_is_in_recovery() and pg_last_wal_replay_lsn() >= '$END'" | ask postgres 2>/dev/null)
        [ "$at" = t ] && return 0
        [ "$(date +%s)" -lt "$until" ] || break
        [ -n "$(postmaster_pid)" ] || break
        sleep 0.1
    done
    echo "it does not come to the end of its WAL ($END): $(tail -n 1 "$dir/log")" >&2
    return 1
}

case "$VERB" in
start) guard && start ;;
query) printf '%s\n' "$SQL" | ask "$DATABASE" | head -c "$MOST_BYTES" ;;
stop)
    guard || return $?
    if [ -n "$(postmaster_pid)" ] && [ -e "$dir/.s.PGSQL.$PORT" ]; then
        as_owner "$BIN/pg_ctl" -D "$PGDATA" -s -w -t 60 -m fast stop 9>&- || return 1
    fi
    rm -rf "$dir"
    ;;
esac
