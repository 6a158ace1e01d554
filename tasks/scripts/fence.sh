# Stop PostgreSQL on this host, take its addresses away, and keep it from coming back as a primary.
# EPOCH, RUN, ADDRESSES, UNIT (may be empty), STOP_S: seconds for an immediate shutdown before SIGKILL;
# UNIT_S: seconds for each word with systemd.
# A full or read-only disk must not keep us from fencing: what cannot be written is passed over, and the next measure is
# taken. On a full one the file is made all the same, empty.
guard 0 || true
echo "$EPOCH $RUN" >"$STATE/$SERVICE.fenced" 2>/dev/null || true

# First the door, then the fire: with standby.signal, whatever starts this data directory again starts it read-only.
if [ -e "$PGDATA/PG_VERSION" ] && [ ! -e "$PGDATA/standby.signal" ]; then
    as_owner touch "$PGDATA/standby.signal" || mv "$PGDATA/PG_VERSION" "$PGDATA/PG_VERSION.fenced" || true
fi
# A unit file of the administrator's own, in /etc/systemd/system, cannot be masked: with a job to stop it, Restart= does not
# start the server again either once it is killed below. Not waited for: a frozen server does not stop.
if [ -n "$UNIT" ]; then
    timeout "$UNIT_S" systemctl mask --no-ask-password "$UNIT" >/dev/null 2>&1
    timeout "$UNIT_S" systemctl stop --no-block --no-ask-password "$UNIT" >/dev/null 2>&1
fi

for address in $ADDRESSES; do
    ip -o addr show to "${address%/*}" 2>/dev/null | while read -r _ device _; do
        ip addr del "$address" dev "$device"
    done
done

pid=$(postmaster_pid)
pids=$(server_pids)
if [ -n "$pid" ] && ! grep -q '^State:.[Tt] ' $(printf '/proc/%s/status ' $pids) 2>/dev/null; then
    kill -QUIT "$pid" 2>/dev/null
    turns=$((STOP_S * 50))
    while [ "$turns" -gt 0 ] && [ -n "$(server_pids)" ]; do
        turns=$((turns - 1))
        sleep 0.02
    done
fi
# What is frozen or hangs is killed; the postmaster first, so that it restarts nothing.
turns=100
while [ "$turns" -gt 0 ]; do
    pids=$(server_pids)
    [ -z "$pids" ] && break
    pid=$(postmaster_pid)
    [ -n "$pid" ] && kill -KILL "$pid" 2>/dev/null
    kill -KILL $pids 2>/dev/null
    turns=$((turns - 1))
    sleep 0.02
done
[ -z "$(server_pids)" ] || { echo "processes of $PGDATA do not end" >&2; return 1; }

# Data that is not to be seen, on a volume that is not mounted now, would start as a primary once it is: then only a masked
# unit holds it. What is not held is not fenced, and another way is taken.
[ -e "$PGDATA/PG_VERSION" ] && [ -e "$PGDATA/standby.signal" ] && return 0
[ -e "$PGDATA/PG_VERSION.fenced" ] && [ ! -e "$PGDATA/PG_VERSION" ] && return 0
[ ! -e "$PGDATA/PG_VERSION" ] && [ -n "$UNIT" ] && [ "$(systemctl is-enabled "$UNIT" 2>/dev/null)" = masked ] &&
    ! systemctl is-active -q "$UNIT" && return 0
rm -f "$STATE/$SERVICE.fenced"
echo "nothing keeps the server of $PGDATA from coming back as a primary: its data is not there, or not writable" >&2
return 1
