# What a drill of a restore needs on its host beside the restore itself. VERB: alone, state, clear.
# WORK (its directory), PGDATA, BIN, OS_USER, PASSAGE (the run, for the key that it had here).
cd /
pass=$STATE/passage/$PASSAGE
real=$(readlink -m "$WORK") # as the kernel names it
inside() { # processes that work in the directory or hold a file of it: unpacking, moving, the scratch server
    find /proc -maxdepth 3 \( -path '/proc/[0-9]*/cwd' -o -path '/proc/[0-9]*/fd/*' \) \
        \( -lname "$real" -o -lname "$real/*" -o -lname "$real (deleted)" \) -printf '%h\n' 2>/dev/null |
        cut -d/ -f3 | sort -u
}
sockets() { # IP sockets of a process: protocol, local and remote address as the kernel writes them
    for descriptor in "/proc/$1/fd"/*; do
        readlink "$descriptor" 2>/dev/null
    done | sed -n 's/^socket:\[\([0-9]*\)\]$/\1/p' | while read -r inode; do
        for kind in tcp tcp6 udp udp6; do
            awk -v kind="$kind" -v inode="$inode" '$10 == inode { print "socket=" kind " " $2 " " $3 }' "/proc/$1/net/$kind" 2>/dev/null
        done
    done
}

case "$VERB" in
alone)
    pids=$(server_pids)
    echo "processes=$(echo "$pids" | grep -c .)"
    for pid in $pids; do sockets "$pid"; done | sort -u
    pid=$(postmaster_pid)
    [ -z "$pid" ] || [ "$(readlink "/proc/$pid/ns/net")" = "$(readlink /proc/self/ns/net)" ] || echo "own_network=1"
    ;;
state)
    [ ! -e "$WORK" ] || echo "directory=1"
    [ -z "$(inside)" ] || echo "processes=1"
    [ ! -e "$pass" ] || echo "key=1"
    ;;
clear) # nobody needs the data again, so that the server need not write it out
    [ -z "$(postmaster_pid)" ] || as_owner "$BIN/pg_ctl" -D "$PGDATA" -s -w -t 20 -m immediate stop 9>&- >/dev/null 2>&1
    for signal in TERM KILL; do
        turns=50
        while [ "$turns" -gt 0 ] && pids=$(inside) && [ -n "$pids" ]; do
            [ $((turns % 10)) -ne 0 ] || kill -"$signal" $pids 2>/dev/null
            sleep 0.1
            turns=$((turns - 1))
        done
    done
    rm -rf "${WORK:?}" "$pass" "$pass.ca"
    ;;
esac
return 0
