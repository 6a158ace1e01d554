# The processes of an account, and how they are ended. Before account.sh, which sets ACCOUNT and uid.

# All that runs for the account: by any of its four user ids, in a session of its own (what sudo started there, too), and the
# children of those. Never the first process, nor those that this script runs below. A zombie is dead.
account_pids() {
    cat /proc/[0-9]*/status 2>/dev/null | awk -v uid="$uid" -v self="$$" -v of_sessions="$(session_pids | tr '\n' ' ')" '
        $1 == "State:" { state = $2 }
        $1 == "Pid:" { pid = $2 }
        $1 == "PPid:" { parent[pid] = $2 }
        $1 == "Uid:" && state !~ /[ZX]/ {
            alive[pid] = 1
            if ($2 == uid || $3 == uid || $4 == uid || $5 == uid) its[pid] = 1
        }
        END {
            n = split(of_sessions, list, " ")
            for (i = 1; i <= n; i++) if (list[i] in alive) its[list[i]] = 1
            do {
                more = 0
                for (pid in alive) if (!(pid in its) && (parent[pid] in its)) { its[pid] = 1; more = 1 }
            } while (more)
            for (pid = self; pid > 1 && pid in parent; pid = parent[pid]) delete its[pid]
            delete its[1]
            for (pid in its) print pid
        }'
}

# Processes in the sessions that logind keeps for the account. A daemon that was started by sudo is in none of them.
session_pids() {
    for group in /sys/fs/cgroup/user.slice/"user-$uid.slice" /sys/fs/cgroup/systemd/user.slice/"user-$uid.slice"; do
        [ ! -d "$group" ] || find "$group" -name cgroup.procs -exec cat {} + 2>/dev/null
    done
}

# End them all, however fast they fork: each turn stops what it sees, so that the next has less to do, and then has the kernel
# kill all that the account owns in one sweep, which no fork escapes. Fails when some are left after LIMIT_S seconds.
end_processes() {
    ended=0 turns=0 quiet=0
    ends_at=$(($(date +%s) + ${LIMIT_S:-20}))
    while [ "$quiet" -lt 2 ]; do
        pids=$(account_pids)
        if [ -z "$pids" ]; then quiet=$((quiet + 1)); continue; fi
        quiet=0 turns=$((turns + 1))
        [ "$turns" -gt 1 ] || ended=$(echo "$pids" | wc -l)
        kill -STOP $pids 2>/dev/null
        sweep
        kill -KILL $pids 2>/dev/null
        [ "$(date +%s)" -lt "$ends_at" ] || break
    done
    [ "$quiet" -ge 2 ] || { echo "processes of $ACCOUNT do not end: $(echo $pids | cut -c 1-200)" >&2; return 1; }
}

# As the account, whose limit of processes may be reached, and which none of ours may have: its uid is not root's.
sweep() {
    raise=
    ! command -v prlimit >/dev/null 2>&1 || raise='prlimit --nproc=unlimited'
    ($raise setpriv --reuid "$uid" --clear-groups -- /bin/sh -c 'kill -KILL -1' 9>&-) >/dev/null 2>&1 || true
}
