# A small stand-in for a service manager with Restart=on-failure: a postmaster that it saw alive and that died without
# removing its pid file is started again. One that was stopped in order stays stopped; none is started at boot.
set -eu
data=/var/lib/postgresql/data
seen=
while sleep 0.2; do
    pid=
    if [ -f "$data/postmaster.pid" ]; then read -r pid <"$data/postmaster.pid" || true; fi
    if [ -n "$pid" ] && [ -e "/proc/$pid" ]; then
        seen=$pid
    elif [ -n "$pid" ] && [ "$pid" = "$seen" ]; then
        /var/lib/postgresql/server/bin/pg_ctl -s -D "$data" -l /var/lib/postgresql/postgresql.log start || seen=
    else
        seen=
    fi
done
