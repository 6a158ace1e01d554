# Take a healthy primary out of service, cleanly and quickly: its addresses go, then it stops, and it would start
# read-only from now on. ADDRESSES, UNIT (may be empty), TIMEOUT_S. One script, for users wait while it runs.
guard || return $?
as_owner touch "$PGDATA/standby.signal" || return 1
for address in $ADDRESSES; do
    ip -o addr show to "${address%/*}" 2>/dev/null | while read -r _ device _; do ip addr del "$address" dev "$device"; done
done
pid=$(postmaster_pid)
[ -n "$pid" ] || return 0
if [ -n "$UNIT" ]; then
    timeout "$TIMEOUT_S" systemctl stop --no-ask-password "$UNIT" 9>&- || return 1
else
    kill -INT "$pid" # fast: sessions end, standbys get all WAL, then the last checkpoint
fi
turns=$((TIMEOUT_S * 100))
while [ -e "$PGDATA/postmaster.pid" ]; do
    turns=$((turns - 1))
    [ "$turns" -gt 0 ] || { echo "the server does not stop within $TIMEOUT_S s" >&2; return 1; }
    sleep 0.01
done
return 0
