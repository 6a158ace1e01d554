# What can be reached from here. WAYS: a line each, `tcp ADDRESS PORT` or `icmp ADDRESS`; LIMIT_S for all of them together. A line
# `way:N:WAY=open|refused` a way that was reached; `no:KIND=1` where a kind cannot be tried here at all. VERB:
# try      try them now
# keep     likewise, and keep a connection by each of FLOWS (`ADDRESS PORT`), for at most KEEP_S
# pass     say which of the flows that were kept still pass: `way:N:flow ADDRESS PORT=open`; they end with that
# out      what this host reaches itself, and from every other network that lives on it
#          (`way:guest 1:WAY=open`), such as those of containers
python=$(command -v python3)
reacher='
import errno, os, select, socket, struct, sys, time
limit, name = float(sys.argv[2]), sys.argv[3]
def say(way, how): print(f"way:{name}:{way}={how}", flush=True)
def family(address): return socket.AF_INET6 if ":" in address else socket.AF_INET
def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xffff)
    return ~(total + (total >> 16)) & 0xffff
def attempt(ways):
    poll, open_, echoes = select.poll(), {}, {}
    until = time.monotonic() + limit
    for way in ways:
        kind, address, *port = way.split()
        if kind == "tcp":
            one = socket.socket(family(address), socket.SOCK_STREAM)
            one.setblocking(False)
            code = one.connect_ex((address, int(port[0])))
            if code == errno.EINPROGRESS:
                open_[one.fileno()] = way, one
                poll.register(one, select.POLLOUT)
            elif code in (0, errno.ECONNREFUSED):
                say(way, "refused" if code else "open")
        else:
            echoes.setdefault(family(address), {})[address] = way
    pings = {}
    for kin, wanted in echoes.items():
        protocol = socket.IPPROTO_ICMPV6 if kin == socket.AF_INET6 else socket.IPPROTO_ICMP
        for style in (socket.SOCK_RAW, socket.SOCK_DGRAM):
            try:
                one = socket.socket(kin, style, protocol)
            except OSError:
                continue
            one.setblocking(False)
            pings[one.fileno()] = one, kin, style, wanted
            poll.register(one, select.POLLIN)
            break
        else:
            print(f"no:icmp{6 if kin == socket.AF_INET6 else 4}=1", flush=True)
    def echo():
        for one, kin, style, wanted in pings.values():
            for address in wanted:
                kind = 128 if kin == socket.AF_INET6 else 8
                body = struct.pack("!BBHHH", kind, 0, 0, os.getpid() & 0xffff, 1) + b"recoverd"
                if kin == socket.AF_INET: body = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
                try: one.sendto(body, (address, 0))
                except OSError: pass
    echo()
    again = time.monotonic() + limit / 3
    while (left := until - time.monotonic()) > 0 and (open_ or any(entry[3] for entry in pings.values())):
        if time.monotonic() > again:
            echo()
            again = until
        for number, _ in poll.poll(max(1, min(left, limit / 3) * 1000)):
            if number in open_:
                way, one = open_.pop(number)
                poll.unregister(number)
                code = one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code in (0, errno.ECONNREFUSED, errno.ECONNRESET): say(way, "refused" if code else "open")
                one.close()
            else:
                one, kin, style, wanted = pings[number]
                try: data, place = one.recvfrom(2048)
                except OSError: continue
                if kin == socket.AF_INET and style == socket.SOCK_RAW: data = data[(data[0] & 15) * 4:]
                address = place[0].partition("%")[0]
                if data[:1] == (b"\x81" if kin == socket.AF_INET6 else b"\0") and address in wanted: say(wanted.pop(address), "open")
def keep(flows, seconds):
    os.closerange(3, 64)
    kept = {}
    for flow in flows:
        address, port = flow.split()
        try: kept[flow] = socket.create_connection((address, int(port)), limit)
        except OSError: continue
    door = socket.socket(socket.AF_UNIX)
    door.bind("\0recoverd-flows-" + name)
    door.listen(1)
    if os.fork(): os._exit(0)
    os.setsid()
    null = os.open("/dev/null", os.O_RDWR)
    for one in (0, 1, 2): os.dup2(null, one)
    door.settimeout(seconds)
    try: caller, _ = door.accept()
    except OSError: os._exit(0)
    import fcntl, termios
    sent = {}
    for flow, one in kept.items():
        one.setblocking(False)
        try: sent[flow] = one.send(b"\n") and one
        except OSError: pass
    until = time.monotonic() + limit
    while sent and time.monotonic() < until:
        for flow, one in list(sent.items()):
            left = struct.unpack("i", fcntl.ioctl(one, termios.TIOCOUTQ, b"\0\0\0\0"))[0]
            info = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)
            if left == 0 and info[0] in (1, 8): # acknowledged, and not reset meanwhile
                caller.sendall(f"{flow}\n".encode())
                sent.pop(flow)
        time.sleep(0.02)
    caller.close()
    os._exit(0)
def passing():
    one = socket.socket(socket.AF_UNIX)
    one.settimeout(limit + 5)
    try: one.connect("\0recoverd-flows-" + name.partition(" ")[0])
    except OSError: return
    text = b""
    while part := one.recv(65536): text += part
    for flow in text.decode().split("\n"):
        if flow: print(f"way:-:flow {flow}=open", flush=True)
verb, given = sys.argv[1], sys.argv[4].split("\n")
lines = [line for line in given if line]
if verb == "try": attempt(lines)
elif verb == "keep": keep(lines, float(sys.argv[5]))
else: passing()
'
bare() { # without python3: bash and ping, a process each
    command -v bash >/dev/null 2>&1 || echo no:tcp=1
    command -v ping >/dev/null 2>&1 || { echo no:icmp4=1; echo no:icmp6=1; }
    printf '%s\n' "$WAYS" | {
        while read -r kind address port; do
            case "$kind" in
            tcp)
                {
                    said=$(timeout "$LIMIT_S" bash -c ": </dev/tcp/$address/$port" 2>&1) && echo "way:$1:tcp $address $port=open"
                    case "$said" in *refused* | *reset*) echo "way:$1:tcp $address $port=refused" ;; esac
                } &
                ;;
            icmp) ping -c 1 -W "$LIMIT_S" "$address" >/dev/null 2>&1 && echo "way:$1:icmp $address=open" & ;;
            esac
        done
        wait
    }
}
attempt() { # attempt NAME [PREFIX…]
    name=$1
    shift
    if [ -n "$python" ]; then
        timeout -k 1 "$((LIMIT_S + 5))" "$@" "$python" -I -c "$reacher" try "$LIMIT_S" "$name" "$WAYS"
    else
        bare "$name"
    fi
    return 0
}
out() {
    attempt itself &
    mine=$(readlink /proc/self/ns/net) number=0
    seen=" $mine "
    for dir in /proc/[0-9]*; do
        net=$(readlink "$dir/ns/net" 2>/dev/null) || continue
        case "$seen" in *" $net "*) continue ;; esac
        seen="$seen$net " number=$((number + 1))
        [ "$number" -le 16 ] || { echo more_guests=1; break; }
        attempt "guest $number" nsenter -t "${dir#/proc/}" -n -- &
    done
    wait
}

case "$VERB" in
try) attempt - ;;
keep)
    attempt - &
    [ -z "$python" ] || [ -z "$FLOWS" ] || timeout -k 1 "$KEEP_S" "$python" -I -c "$reacher" keep "$LIMIT_S" "$RUN" "$FLOWS" "$KEEP_S" </dev/null || :
    wait
    ;;
pass)
    [ -z "$python" ] || "$python" -I -c "$reacher" pass "$LIMIT_S" "$RUN" '' &
    attempt -
    wait
    ;;
out) out ;;
*) echo "no such verb: $VERB" >&2 && return 2 ;;
esac
