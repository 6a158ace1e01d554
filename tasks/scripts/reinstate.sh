# Make a server that was to be taken out of service a primary again; it is started by `server` afterwards.
# RUNS=1: it never stopped taking writes, so only its mark is taken away. A stop that has begun cannot be called off: it is finished first.
guard || return $?
if [ "$RUNS" != 1 ]; then
    pid=$(postmaster_pid)
    turns=500
    while [ -n "$(server_pids)" ] && [ "$turns" -gt 0 ]; do
        [ "$turns" -ne 300 ] || kill -QUIT "$pid" 2>/dev/null
        turns=$((turns - 1))
        sleep 0.02
    done
    [ -z "$(server_pids)" ] || { echo "processes of $PGDATA do not end" >&2; return 1; }
fi
rm -f "$PGDATA/standby.signal"
return 0
