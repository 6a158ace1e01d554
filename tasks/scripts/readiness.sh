# What this host has of what recoverd will need: key=value lines. Reads only. CONFIG_FILE may be empty.
echo "now=$(date +%s.%N)"
echo "uid=$(id -u)"
echo "os_user=$(id -u "$OS_USER" 2>/dev/null)"
missing=
for tool in setpriv flock ip arping find sed awk readlink; do
    command -v "$tool" >/dev/null || missing="$missing $tool"
done
echo "missing_tools=${missing# }"
missing=
for program in pg_ctl pg_controldata pg_rewind pg_waldump pg_basebackup; do
    [ -x "$BIN/$program" ] || missing="$missing $program"
done
echo "missing_programs=${missing# }"
[ -r "$PGDATA/PG_VERSION" ] && echo "data_version=$(cat "$PGDATA/PG_VERSION")"
[ -z "$CONFIG_FILE" ] || [ -r "$CONFIG_FILE" ] || echo "missing_config=$CONFIG_FILE"
# Where the epoch will be noted: the directory, or the nearest one above it that is there.
place=$STATE
while [ ! -d "$place" ] && [ "$place" != / ]; do place=$(dirname "$place"); done
[ -w "$place" ] && echo "state_writable=1"
if [ -n "$UNIT" ]; then
    echo "unit=$(systemctl show -p LoadState --value "$UNIT" 2>/dev/null)"
fi
return 0
