# Sourced before every script that recoverd runs on a host. POSIX sh.
# Variables: SERVICE, OS_USER, PGDATA, BIN, and for changing scripts EPOCH.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
STATE=/var/lib/recoverd

# The data directory as the kernel names it: /proc never shows a path with a symbolic link in it, and a server that is
# not recognised would count as stopped.
DATA=$(cd -P "$PGDATA" 2>/dev/null && pwd -P) || DATA=${PGDATA%/}

# What a program said last, of what tells something: after an error age asks for a report, in words that name no cause.
last_words_in() { grep -v -e '^$' -e '^age: report unexpected' "$1" 2>/dev/null | tail -n 1; }

# SHA-256 of standard input, in hex. openssl has the processor's own instructions for it, and is four times as fast.
sha256_in() {
    if command -v openssl >/dev/null 2>&1; then hashed=$(openssl dgst -sha256 -r); else hashed=$(sha256sum); fi || return 1
    echo "${hashed%% *}"
}

# Run a command as the operating-system user that owns the database.
as_owner() {
    if [ "$(id -un)" = "$OS_USER" ]; then
        "$@"
    else
        setpriv --reuid "$OS_USER" --regid "$(id -g "$OS_USER")" --init-groups -- "$@"
    fi
}

# The state letter of a process (T is frozen), empty when it is gone. Built from shell words alone: forks are what
# costs time here.
state_of() {
    read -r line <"/proc/$1/stat" || return 0
    line=${line##*) }
    echo "${line%% *}"
} 2>/dev/null

# Every process whose working directory is the data directory: the postmaster and all its children, and nothing else.
server_pids() {
    find /proc -maxdepth 2 -name cwd \( -lname "$DATA" -o -lname "$DATA (deleted)" \) -printf '%h\n' 2>/dev/null | while read -r dir; do
        read -r line 2>/dev/null <"$dir/stat" || continue
        case "${line##*) }" in Z* | X*) ;; *) echo "${dir#/proc/}" ;; esac
    done
}

postmaster_pid() {
    pid=
    read -r pid 2>/dev/null <"$PGDATA/postmaster.pid" || return 0
    [ -n "$pid" ] && [ "/proc/$pid/cwd" -ef "$PGDATA" ] && echo "$pid"
    return 0
}

# The postmaster.pid of a server that died names a process that may be anybody's by now, after a boot above all: PostgreSQL
# would take that one for its server and refuse to start, and `pg_ctl stop` would end it. The file goes once no process
# works in the data directory and none has the shared memory that the file names, which PostgreSQL asks too. A server
# that starts meanwhile works there before it writes its file, which then reads otherwise. Only behind the guard.
drop_stale_lock() {
    lock=$PGDATA/postmaster.pid
    [ -e "$lock" ] || return 0
    left=$(cat "$lock")
    [ -z "$(server_pids)" ] || return 0
    line() { printf '%s\n' "$left" | sed -n "$1p"; }
    set -- $(line 7) # key and id of the shared memory; the kernel shows a large key as a negative number
    [ -z "$2" ] || ! awk -v key="$1" -v id="$2" \
        '$2 == id && ($1 == key || $1 < 0) && $7 > 0 { used = 1 } END { exit !used }' /proc/sysvipc/shm || return 0
    [ "$(cat "$lock" 2>/dev/null)" = "$left" ] && rm -f "$lock"
    socket=$(line 5)/.s.PGSQL.$(line 4).lock # it names the same process, and the data directory
    [ -z "$left" ] || [ "$(head -n 2 "$socket" 2>/dev/null)" != "$(line 1,2)" ] || rm -f "$socket"
    return 0
}

# Whether this host holds an address (without its prefix length).
holds() {
    [ -n "$(ip -o addr show to "$1" 2>/dev/null)" ]
}

# Refuse an epoch that is older than the newest one this host has seen, and hold the line until the script ends.
# Descriptor 9 must be closed (9>&-) for daemons that are started here, or they would hold it for ever. `command`, for
# the shell would end where a bare exec cannot open its file, and a fence must go on there.
guard() {
    mkdir -p "$STATE" && command exec 9>>"$STATE/$SERVICE.lock" || { echo "cannot write $STATE" >&2; return "${1:-96}"; }
    flock -w 10 9 || { echo "another recoverd works on $SERVICE here" >&2; exit 95; }
    seen=0
    read -r seen 2>/dev/null <"$STATE/$SERVICE.epoch"
    if [ "$EPOCH" -lt "${seen:-0}" ]; then
        echo "epoch $EPOCH is older than $seen, which this host has seen" >&2
        exit 97
    fi
    if [ "$EPOCH" -gt "${seen:-0}" ]; then
        echo "$EPOCH" >"$STATE/$SERVICE.epoch.new" && mv "$STATE/$SERVICE.epoch.new" "$STATE/$SERVICE.epoch" \
            || { echo "cannot write $STATE/$SERVICE.epoch" >&2; return "${1:-96}"; }
    fi
    return 0
}
