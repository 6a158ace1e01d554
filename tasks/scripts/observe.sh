# What this host says of its PostgreSQL: key=value lines. Reads only. ADDRESSES: virtual addresses to look for. UNIT: systemd unit or empty.
# Who may not look at other users' processes and files sees none, which would pass for a server that is stopped.
[ -r /proc/1/environ ] || [ "$(id -u)" = 0 ] || [ "$(id -un)" = "$OS_USER" ] ||
    { echo "neither root nor $OS_USER: the server cannot be seen" >&2; return 1; }
pid=$(postmaster_pid)
echo "postmaster=$pid"
if [ -n "$pid" ]; then
    echo "postmaster_state=$(state_of "$pid")"
fi
set -- $(server_pids)
echo "processes=$#"
[ -d "$PGDATA" ] && echo "data_dir=1"
[ -e "$PGDATA/standby.signal" ] && echo "standby_signal=1"
[ -e "$PGDATA/promote.signal" ] && echo "promoting=1"
[ -e "$PGDATA/PG_VERSION" ] && echo "startable=1"
[ -e "$PGDATA/PG_VERSION.fenced" ] && echo "held=1"
[ -e "$STATE/$SERVICE.fenced" ] && { read -r line <"$STATE/$SERVICE.fenced"; echo "fenced=$line"; }
line=
read -r line 2>/dev/null <"$STATE/$SERVICE.epoch"
echo "epoch=$line"
"$BIN/pg_controldata" -D "$PGDATA" 2>/dev/null | while IFS=: read -r key value; do
    value=${value#"${value%%[! ]*}"}
    case "$key" in
    'Database cluster state') echo "control_state=$value" ;;
    "Latest checkpoint's TimeLineID") echo "control_timeline=$value" ;;
    'Latest checkpoint location') echo "control_checkpoint=$value" ;;
    'Database system identifier') echo "system_identifier=$value" ;;
    esac
done
for address in $ADDRESSES; do
    holds "${address%/*}" && echo "address:$address=1"
done
if [ -n "$UNIT" ]; then
    echo "unit_enabled=$(systemctl is-enabled "$UNIT" 2>/dev/null)"
    echo "unit_active=$(systemctl is-active "$UNIT" 2>/dev/null)"
fi
[ -d "$PGDATA" ] && stat -f -c 'free_blocks=%a
block_bytes=%S' "$PGDATA" 2>/dev/null
return 0
