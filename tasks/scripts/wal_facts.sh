# What a stopped server's control file and WAL directory say, as key=value lines. Reads only.
"$BIN/pg_controldata" -D "$PGDATA" 2>/dev/null | while IFS=: read -r key value; do
    value=${value#"${value%%[! ]*}"}
    case "$key" in
    'Database cluster state') echo "state=$value" ;;
    'Database system identifier') echo "system_identifier=$value" ;;
    'Latest checkpoint location') echo "checkpoint=$value" ;;
    "Latest checkpoint's TimeLineID") echo "timeline=$value" ;;
    'Data page checksum version') echo "checksums=$value" ;;
    'wal_log_hints setting') echo "hints=$value" ;;
    'Bytes per WAL segment') echo "segment_bytes=$value" ;;
    esac
done
[ -e "$PGDATA/PG_VERSION" ] && echo "data_dir=1"
[ -e "$STATE/$SERVICE.unfit" ] && echo "unfit=1"
[ -n "$(postmaster_pid)" ] && echo "running=1"
newest=$(ls "$PGDATA/pg_wal" 2>/dev/null | grep -E '^[0-9A-F]{24}$' | cut -c1-8 | sort | tail -n 1)
echo "wal_timeline=$newest"
[ -n "$newest" ] && [ -f "$PGDATA/pg_wal/$newest.history" ] && echo "history=$(base64 -w 0 <"$PGDATA/pg_wal/$newest.history")"
[ -x "$BIN/pg_waldump" ] && echo "waldump=1"
[ -x "$BIN/psql" ] && echo "psql=1"
echo "free_kb=$({ df -Pk "$STATE" 2>/dev/null || df -Pk /var/lib; } | awk 'NR==2{print $4}')"
return 0
