# Take the fence away again. START=1 starts the server as what it was. EPOCH, UNIT, START_COMMAND.
# WAS_STANDBY=1: it had a standby.signal before it was fenced, and keeps it.
guard || return $?
[ -e "$PGDATA/PG_VERSION.fenced" ] && mv "$PGDATA/PG_VERSION.fenced" "$PGDATA/PG_VERSION"
[ "$WAS_STANDBY" = 1 ] || rm -f "$PGDATA/standby.signal"
[ -n "$UNIT" ] && systemctl unmask --no-ask-password "$UNIT" >/dev/null 2>&1
rm -f "$STATE/$SERVICE.fenced"
return 0
