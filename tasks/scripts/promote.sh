# Ask the standby on this host to promote itself: what pg_promote(false) does, behind the epoch guard. EPOCH.
guard || return $?
pid=$(postmaster_pid)
[ -n "$pid" ] || { echo "no server runs in $PGDATA" >&2; return 1; }
[ -e "$PGDATA/standby.signal" ] || return 0
as_owner touch "$PGDATA/promote.signal" || return 1
kill -USR1 "$pid"
