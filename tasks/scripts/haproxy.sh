# A server of HAProxy, by its runtime socket. VERB=ask: a line for each backend that has it, with what an administrator has
# set it to and its sessions, and how many other servers of the backend take users. VERB=leave: no new session, DRAIN_S seconds for those that are open, then maintenance, and the
# rest is cut. VERB=set: to what STATES says (backend=state, with blanks). SOCKET, SERVER, BACKENDS (empty: all).
ask() { # ask COMMAND: HAProxy's answer. Whatever of the three is there: each of them only carries the words.
    [ -S "$SOCKET" ] || { echo "there is no socket $SOCKET: HAProxy does not run, or has another one" >&2; return 1; }
    if command -v socat >/dev/null 2>&1; then
        printf '%s\n' "$1" | socat -t 10 - "UNIX-CONNECT:$SOCKET"
    elif command -v python3 >/dev/null 2>&1; then
        printf '%s\n' "$1" | python3 -c 'import socket, sys
s = socket.socket(socket.AF_UNIX); s.settimeout(10); s.connect(sys.argv[1]); s.sendall(sys.stdin.buffer.read())
while part := s.recv(65536): sys.stdout.buffer.write(part)' "$SOCKET"
    else
        printf '%s\n' "$1" | perl -MIO::Socket::UNIX -e 'alarm 10;
my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die "$!\n"; print $s join("", <STDIN>); print while <$s>;' "$SOCKET"
    fi
}
wanted() { # wanted BACKEND: whether the inventory means it
    case " ${BACKENDS:-$1} " in *" $1 "*) return 0 ;; esac
    return 1
}
servers() { # backend, state and sessions of the server, a line each
    states=$(ask "show servers state") && stats=$(ask "show stat -1 4 -1") || return 1
    # srv_admin_state: bit 0 is maintenance, bit 3 is drain, both as an administrator set them.
    printf '%s\n' "$states" | awk -v name="$SERVER" '$4 == name { print $2, ($7 % 2 ? "maint" : int($7 / 8) % 2 ? "drain" : "ready") }' \
        | while read -r backend state; do
            wanted "$backend" || continue
            sessions=$(printf '%s\n' "$stats" | awk -F, -v b="$backend" -v s="$SERVER" '$1 == b && $2 == s { print $5 }')
            echo "$backend $state ${sessions:-0}"
        done
}
set_to() { # set_to BACKEND STATE
    said=$(ask "set server $1/$SERVER state $2") || return 1
    [ -z "$(printf %s "$said" | tr -d '[:space:]')" ] || { echo "HAProxy: $said" >&2; return 1; }
}

if [ "$VERB" = ask ]; then
    found=$(servers) || return 1
    printf '%s\n' "$found" | while read -r backend state sessions; do
        [ -z "$backend" ] || echo "server:$backend=$state $sessions"
    done
    ask "show servers state" | awk -v name="$SERVER" '
        NF > 7 && $4 == name { mine[$2] = 1 }
        NF > 7 && $4 != name && $6 == 2 && $7 % 2 == 0 && int($7 / 8) % 2 == 0 { others[$2]++ } # up, and nobody took it out
        END { for (backend in mine) print "others:" backend "=" others[backend] + 0 }' \
        | while IFS= read -r line; do
            backend=${line#others:}
            ! wanted "${backend%=*}" || echo "$line"
        done
    return 0
fi
guard || return $?
if [ "$VERB" = set ]; then
    for pair in $STATES; do set_to "${pair%%=*}" "${pair#*=}" || return 1; done
    return 0
fi
found=$(servers) || return 1
for backend in $(printf '%s\n' "$found" | awk '$2 == "ready" { print $1 }'); do set_to "$backend" drain || return 1; done
turns=$((DRAIN_S * 5))
while [ "$turns" -gt 0 ] && servers | awk '{ open += $3 } END { exit !open }'; do
    sleep 0.2
    turns=$((turns - 1))
done
for backend in $(printf '%s\n' "$found" | awk '{ print $1 }'); do
    set_to "$backend" maint || return 1
    ask "shutdown sessions server $backend/$SERVER" >/dev/null || return 1
done
return 0
