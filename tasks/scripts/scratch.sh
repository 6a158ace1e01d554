# A scratch server on restored data: on no network, without an archive, with a configuration of its own, so that it cannot
# touch what the data came from. VERB: start (TARGET: lines of recovery settings; AT_END: those of an
# earlier attempt that found the WAL to end before its target), state, query (DATABASE, SQL), stop.
# WORK, PGDATA, PORT, BIN, DB_USER, MOST_BYTES.
cd /
conf=$WORK/server
ask() { # the name goes by the environment: as an argument libpq takes one with a `=` for a connection string, to anywhere
    as_owner env PGDATABASE="$1" "$BIN/psql" -X -q -A -t -v ON_ERROR_STOP=1 -h "$conf" -p "$PORT" -U "$DB_USER"
}
alone() { # in a network of its own with nothing in it, where the kernel lets us: what the data brings along calls nobody
    if [ "$(id -u)" = 0 ] && unshare -n true 2>/dev/null; then
        unshare -n setpriv --reuid "$OS_USER" --regid "$(id -g "$OS_USER")" --init-groups -- "$@"
    else
        as_owner "$@"
    fi
}
needed() { # settings that must not be lower than where the WAL was written; the control file remembers them
    "$BIN/pg_controldata" -D "$PGDATA" | sed -n "s/^\(max_[a-z_]*\) setting: *\([0-9]*\)\$/\1 = \2/; T; s/_xacts\{0,1\} /_transactions /; s/per_transactions/per_transaction/; p"
}

case "$VERB" in
start)
    [ -z "$(server_pids)" ] || { [ -n "$(postmaster_pid)" ] || echo "ending=1"; return 0; } # children of one that was killed
    [ -z "$AT_END" ] || ! grep -q 'recovery ended before configured recovery target' "$conf/log" "$conf/log.before" 2>/dev/null || TARGET=$AT_END
    mkdir -p "$conf" "$WORK/wal" && chmod 0700 "$conf" && chown "$OS_USER:" "$conf" "$WORK/wal" || return 1
    printf 'local all all trust\n' >"$conf/pg_hba.conf" # only the owner gets into the directory of the socket
    : >"$conf/pg_ident.conf"
    {
        printf "listen_addresses = ''\nunix_socket_directories = '%s'\nport = %s\n" "$conf" "$PORT"
        printf "hba_file = '%s/pg_hba.conf'\nident_file = '%s/pg_ident.conf'\nexternal_pid_file = ''\n" "$conf" "$conf"
        printf "archive_mode = off\nprimary_conninfo = ''\nprimary_slot_name = ''\nssl = off\nhot_standby = on\n"
        printf "cluster_name = 'scratch'\nlogging_collector = off\nlog_destination = stderr\nlog_statement = none\n"
        printf "max_logical_replication_workers = 0\nmax_wal_size = 4GB\nwal_recycle = off\n"
        needed
        printf '%s\n' "$TARGET"
    } >"$conf/postgresql.conf"
    [ -e "$conf/auto.conf.of-set" ] || cp "$PGDATA/postgresql.auto.conf" "$conf/auto.conf.of-set" 2>/dev/null
    rm -f "$PGDATA/standby.signal" "$PGDATA/postmaster.pid" "$PGDATA/postgresql.auto.conf" "$conf"/.s.PGSQL.*
    as_owner touch "$PGDATA/postgresql.auto.conf" || return 1
    # Only where it begins: PostgreSQL renames the label then, and removes the signal once it has recovered.
    [ ! -e "$PGDATA/backup_label" ] || as_owner touch "$PGDATA/recovery.signal" || return 1
    chown -R "$OS_USER:" "$conf" || return 1
    [ ! -e "$conf/log" ] || { cat "$conf/log" >>"$conf/log.before" && as_owner rm -f "$conf/log"; } || return 1
    alone "$BIN/pg_ctl" -D "$PGDATA" -l "$conf/log" -s -W -o "-c config_file=$conf/postgresql.conf" start 9>&- >/dev/null
    ;;
state)
    [ -n "$(postmaster_pid)" ] && echo "running=1"
    df -Pk "$PGDATA" 2>/dev/null | awk 'NR==2{print "free_kb=" $4; print "size_kb=" $2}'
    [ -e "$PGDATA/recovery.signal" ] || echo "recovered=1"
    stopped=$(cat "$conf/log.before" "$conf/log" 2>/dev/null | grep -oE 'recovery stopping (before|after) .*' | tail -n 1)
    echo "stopped=$stopped"
    # The last line of its timeline's history says up to where it has replayed, to the byte.
    history=$(ls "$PGDATA/pg_wal" 2>/dev/null | grep -E '^[0-9A-F]{8}\.history$' | tail -n 1)
    if [ ! -e "$PGDATA/recovery.signal" ] && [ -n "$history" ]; then
        echo "timeline=$(printf %d "0x${history%.history}")"
        echo "reached=$(grep -v '^ *$' "$PGDATA/pg_wal/$history" | tail -n 1 | awk '{print $2}')"
    fi
    echo "failed=$(grep -E 'FATAL|PANIC' "$conf/log" 2>/dev/null | grep -v 'starting up' | tail -n 1)"
    last=$(cat "$conf/log.before" "$conf/log" 2>/dev/null | sed -n 's/.*last completed transaction was at log time //p' | tail -n 1)
    [ -z "$last" ] || echo "last_commit=$(date -d "$last" +%s.%N 2>/dev/null)" # a server that was started again does not know it
    if [ -S "$conf/.s.PGSQL.$PORT" ]; then
        echo "select 'in_recovery=' || pg_is_in_recovery() union all select 'lsn=' || case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end
              union all select 'last_commit=' || extract(epoch from pg_last_xact_replay_timestamp())" | ask postgres 2>/dev/null
    fi
    return 0
    ;;
query) # a warning is no failure: what psql ended with tells
    { printf 'set default_transaction_read_only = on; set statement_timeout = 600000;\n%s\n' "$SQL" | ask "$DATABASE" || echo "psql ended with $?" >&2; } | head -c "$MOST_BYTES"
    ;;
stop)
    [ -z "$(postmaster_pid)" ] || as_owner "$BIN/pg_ctl" -D "$PGDATA" -s -w -t 120 -m fast stop 9>&- || return 1
    [ -z "$(server_pids)" ]
    ;;
esac
