# pgBackRest on this host, as the account that runs it (OS_USER). VERB: probe (URL, or ADDRESS and PEER_PORT), info, list,
# get (FILE), verify: questions; begin, state, clean: a job in the background (JOB, WHAT: backup, restore or wal); room,
# wipe, ended: the place of a restore. PROGRAM, CONFIG, STANZA, REPO, IO_S and LIMIT_S (seconds), MOST_BYTES.
# Backups: SET (their kind), OTHERS (numbers of repositories on other hosts). Restores: PGDATA (where to), WORK, SET.
# WAL: WAL_LIST (lines: segment, SHA-1 or -, numbers of repositories with commas).
cd /
umask 077
home=$(getent passwd "$OS_USER" | cut -d: -f6)

mine() { # pgBackRest's own log files are left to the runs that it is scheduled for
    as_owner env HOME="$home" timeout -k 5 "$LIMIT_S" "$PROGRAM" --config="$CONFIG" --stanza="$STANZA" --repo="$REPO" \
        --log-level-file=off --log-level-console=info --log-level-stderr=off --io-timeout="$IO_S" "$@" 2>&1
}
quietly() { # what is asked for on standard output, and errors beside it
    as_owner env HOME="$home" timeout -k 5 "$LIMIT_S" "$PROGRAM" --config="$CONFIG" --stanza="$STANZA" --repo="$REPO" \
        --log-level-file=off --log-level-console=off --log-level-stderr=error --io-timeout="$IO_S" "$@"
}

bounded() { # a pipe would hide how pgBackRest ended
    answer=$(mktemp) || return 1
    quietly "$@" >"$answer"
    code=$?
    [ "$(stat -c %s "$answer")" -le "$MOST_BYTES" ] || { echo "the answer is larger than $MOST_BYTES bytes" >&2; code=1; }
    [ "$code" != 0 ] || cat "$answer"
    rm -f "$answer"
    return "$code"
}

# A repository's host whose configuration names the server as `pg1-host` may not name other repositories' hosts besides.
take() {
    set -- --type="$SET"
    for number in $OTHERS; do set -- "$@" "--reset-repo$number-host"; done
    mine "$@" backup
}

# Never to where the data came from (nor to the server that the configuration of a repository's host names): other directories for the data, for every tablespace and for the lock. What is there
# of an earlier attempt is used where pgBackRest can tell that it is such.
restore() {
    delta=
    if [ -e "$PGDATA/PG_VERSION" ] || [ -e "$PGDATA/backup.manifest" ]; then delta=--delta; else rm -rf "$PGDATA"; fi
    mkdir -p "$PGDATA" "$WORK/tablespaces" "$WORK/lock" && chown -R "$OS_USER:" "$PGDATA" "$WORK/tablespaces" "$WORK/lock" || return 1
    chmod 0700 "$PGDATA"
    rm -f "$WORK/holds"
    mine --set="$SET" --type=none --pg1-path="$PGDATA" --reset-pg1-host $delta --tablespace-map-all="$WORK/tablespaces" --lock-path="$WORK/lock" restore || return $?
    sync -f "$PGDATA" && echo "$REPO $SET" >"$WORK/holds"
}

# pgBackRest hands out what is in an archive without looking at it, so that the hash in the name of the archive's file is
# compared here, and the next repository is asked where it does not fit.
fetch_wal() {
    mkdir -p "$WORK/wal" "$WORK/lock" && chown "$OS_USER:" "$WORK/wal" "$WORK/lock" && chmod 0700 "$WORK/wal" || return 1
    printf '%s\n' "$WAL_LIST" >"$job/list"
    one=$(cat <<'ONE'
name=$1 sha1=$2 repos=$3
[ ! -e "$wal/$name" ] || exit 0
for repo in $(echo "$repos" | tr ',' ' '); do
    if said=$(timeout -k 5 "$limit" "$program" --config="$config" --stanza="$stanza" --repo="$repo" --pg1-path="$into" --reset-pg1-host \
        --lock-path="$lock" --log-level-file=off --log-level-console=off --log-level-stderr=error --io-timeout="$io" \
        --no-archive-async archive-get "$name" "$wal/$name.coming" 2>&1); then
        found=$(sha1sum <"$wal/$name.coming") && found=${found%% *}
        [ "$sha1" != - ] && [ "$found" != "$sha1" ] || { mv "$wal/$name.coming" "$wal/$name"; exit; }
        said="its SHA-1 is $found and not $sha1"
    else
        said="$(printf %s "$said" | tr '\n' ' ')"
        [ -n "$said" ] || said="it is not there"
    fi
    rm -f "$wal/$name.coming"
    echo "bad=$repo	$name	$said"
done
exit 1
ONE
)
    # shellcheck disable=SC2016
    as_owner env HOME="$home" wal="$WORK/wal" lock="$WORK/lock" limit=60 program="$PROGRAM" config="$CONFIG" stanza="$STANZA" \
        into="$PGDATA" io="$IO_S" script="$one" \
        xargs -r -P 4 -n 3 sh -c 'sh -c "$script" one "$@"' one <"$job/list" >"$job/bad" 2>>"$job/said"
    done=$?
    [ "$done" = 0 ] || { echo "WAL is missing: $(tail -n 1 "$job/bad" | cut -c5- | tr '\t' ' ')"; return 1; }
    sync -f "$WORK/wal"
}

holders() { find /proc -maxdepth 3 -path '/proc/[0-9]*/fd/*' -lname "$1" 2>/dev/null | cut -d/ -f3 | sort -u; }

case "$VERB" in
probe)
    if [ -n "$URL" ]; then
        curl -s -k -o /dev/null --noproxy '*' --connect-timeout "$LIMIT_S" --max-time "$LIMIT_S" "$URL/" && echo "reached=1" || echo "away=curl ends with $?"
    elif [ -n "$(ssh-keyscan -T "$LIMIT_S" -p "$PEER_PORT" "$ADDRESS" 2>/dev/null)" ]; then
        echo "reached=1"
    else
        echo "away=its SSH does not answer within $LIMIT_S s"
    fi
    ;;
info) quietly info --output=json ;;
list) bounded repo-ls --recurse --output=json "archive/$STANZA" ;;
get) bounded repo-get "archive/$STANZA/$FILE" ;;
verify) quietly verify --output=text --verbose ;;
begin)
    [ -z "$WORK" ] || (umask 022; mkdir -p "$WORK") || return 1 # the account must get through
    guard || return $?
    mkdir -p "$JOB" && job=$JOB || return 1
    exec 8>>"$job/lock"
    flock -n 8 || return 0 # an earlier attempt goes on
    [ -n "$AGAIN" ] || [ ! -e "$job/rc" ] || return 0
    if [ -n "$WORK" ]; then
        chmod 0711 "$WORK" "$(dirname "$WORK")" "$(dirname "$(dirname "$WORK")")"
        as_owner test -x "$WORK" || { echo "$OS_USER cannot get to $WORK on this host" >&2; return 1; }
    fi
    [ -x "$PROGRAM" ] || { echo "there is no $PROGRAM on this host" >&2; return 1; }
    as_owner test -r "$CONFIG" || { echo "$OS_USER cannot read $CONFIG on this host" >&2; return 1; }
    rm -f "$job/rc" "$job/bad"
    date +%s >>"$job/begun"
    (
        trap '' HUP
        case "$WHAT" in backup) take ;; restore) restore ;; wal) fetch_wal ;; esac
        echo $? >"$job/rc.new" && mv "$job/rc.new" "$job/rc"
    ) 9>&- </dev/null >"$job/said" 2>&1 &
    ;;
state)
    [ ! -e "$JOB/lock" ] || (flock -n 8) 8>>"$JOB/lock" || echo "running=1"
    [ ! -e "$JOB/lock" ] || echo "begun=$(tail -n 1 "$JOB/begun" 2>/dev/null)"
    [ -z "$WORK" ] || [ -e "$WORK" ] || echo "gone=1"
    echo "rc=$(cat "$JOB/rc" 2>/dev/null)"
    echo "holds=$(cat "$WORK/holds" 2>/dev/null)"
    echo "bytes=$(du -sk "$PGDATA" "$WORK/wal" 2>/dev/null | awk '{ sum += $1 } END { print sum * 1024 }')"
    echo "files=$(ls "$WORK/wal" 2>/dev/null | grep -cv coming)"
    cat "$JOB/bad" 2>/dev/null
    echo "said=$(tail -c 3000 "$JOB/said" 2>/dev/null | base64 -w 0)"
    ;;
room)
    place=$WORK
    while [ ! -d "$place" ]; do place=$(dirname "$place"); done
    df -Pk "$place" | awk 'NR==2{print "free_kb=" $4}'
    sed 's/^/given_up=/' "$WORK/given-up" 2>/dev/null || true
    ;;
ended) # the last line of a timeline's history says up to where its server had replayed, to the byte
    history=$(ls "$PGDATA/pg_wal" 2>/dev/null | grep -E '^[0-9A-F]{8}\.history$' | tail -n 1)
    echo "stopped=$(grep -oE 'recovery stopping (before|after|at) .*' "$WORK/server/log" 2>/dev/null | tail -n 1)"
    [ -z "$history" ] || echo "reached=$(grep -v '^ *$' "$PGDATA/pg_wal/$history" | tail -n 1 | awk '{print $2}')"
    ;;
wipe) # between two attempts: the server of the first, and what it made of the data
    guard || return $?
    [ -z "$(postmaster_pid)" ] || as_owner "$BIN/pg_ctl" -D "$PGDATA" -s -w -t 120 -m immediate stop 9>&- || return 1
    [ -z "$(server_pids)" ] && rm -rf "${WORK:?}/server" || return 1
    [ -z "$SET" ] || [ ! -d "$WORK" ] || echo "$SET" >>"$WORK/given-up"
    ;;
clean)
    guard || return $?
    for lock in "$JOB"/lock "$JOB"/*/lock; do
        turns=0
        while [ -e "$lock" ] && ! (flock -n 8) 8>>"$lock"; do
            signal=TERM
            [ "$turns" -lt 50 ] || signal=KILL
            for pid in $(holders "$lock"); do kill "-$signal" "$pid" 2>/dev/null; done
            turns=$((turns + 1))
            [ "$turns" -lt 100 ] || { echo "a job in $JOB does not end" >&2; return 1; }
            sleep 0.1
        done
    done
    rm -rf "${JOB:?}"
    [ -z "$WORK" ] || rm -rf "${WORK:?}"
    ;;
esac
