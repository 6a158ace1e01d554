# What tries ways, in Python: one process for all of them. Arguments: the verb (try, keep, pass), the seconds that one way gets, the
# name of who tries, the name of the run, the seconds that flows are kept; standard input: a way a line. See reach.sh.
#
# A flow that is kept is a connection on which nothing was said. When it is asked for, one byte goes there: what is acknowledged, or
# answered by a reset, has passed. Whoever asks must be of the same user: the door is a socket without a file.
reacher='
import errno, fcntl, os, resource, select, socket, struct, sys, termios, threading, time
verb, limit, name, run, seconds = sys.argv[1], float(sys.argv[2]), sys.argv[3], sys.argv[4], float(sys.argv[5])
ESTABLISHED, CLOSE_WAIT, AT_ONCE = 1, 8, 800
REACHED = {0: "open", errno.ECONNREFUSED: "refused", errno.ECONNRESET: "refused"}
def say(key, word="1"): os.write(1, f"{key}={word}\n".encode())
def family(address): return socket.AF_INET6 if ":" in address else socket.AF_INET
def is_mine(address): # the kernel speaks from an address with itself; a bind would succeed with ip_nonlocal_bind for any
    with socket.socket(family(address), socket.SOCK_DGRAM) as one:
        try: one.connect((address, 9))
        except OSError: return False
        return one.getsockname()[0] == address
def dial(ways):
    for start in range(0, len(ways), AT_ONCE):
        poll, waiting, until = select.poll(), {}, time.monotonic() + limit
        for way in ways[start:start + AT_ONCE]:
            _, address, port = way.split()
            one = socket.socket(family(address), socket.SOCK_STREAM)
            one.setblocking(False)
            code = one.connect_ex((address, int(port)))
            if code == errno.EINPROGRESS:
                waiting[one.fileno()] = way, one
                poll.register(one, select.POLLOUT)
            else: yield way, one, code
        while waiting and (left := until - time.monotonic()) > 0:
            for number, _ in poll.poll(left * 1000):
                way, one = waiting.pop(number)
                poll.unregister(number)
                yield way, one, one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        for way, one in waiting.values(): one.close()
def knock(ways):
    for way, one, code in dial(ways):
        if code in REACHED: say(f"way:{name}:{way}", REACHED[code])
        one.close()
def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xffff)
    return ~(total + (total >> 16)) & 0xffff
def echoes(kin):
    for style in (socket.SOCK_RAW, socket.SOCK_DGRAM):
        try: return style, socket.socket(kin, style, socket.IPPROTO_ICMPV6 if kin == socket.AF_INET6 else socket.IPPROTO_ICMP)
        except OSError: pass
    return 0, None
def ping(kin, wanted):
    style, one = echoes(kin)
    if one is None: return say(f"no:{name}:icmp{6 if kin == socket.AF_INET6 else 4}")
    for size in (socket.SO_RCVBUF, socket.SO_SNDBUF): one.setsockopt(socket.SOL_SOCKET, size, 1 << 20)
    head = struct.pack("!BBHHH", 128 if kin == socket.AF_INET6 else 8, 0, 0, os.getpid() & 0xffff, 1) + b"recoverd"
    if kin == socket.AF_INET: head = head[:2] + struct.pack("!H", checksum(head)) + head[4:]
    began = time.monotonic()
    turns = [began, began + limit / 3, began + limit * 2 / 3]
    while wanted and (left := began + limit - time.monotonic()) > 0:
        if turns and time.monotonic() >= turns[0]:
            turns.pop(0)
            for address in wanted:
                try: one.sendto(head, (address, 0))
                except OSError: pass
        one.settimeout(max(0.001, min(left, turns[0] - time.monotonic() if turns else left)))
        try: data, place = one.recvfrom(2048)
        except OSError: continue
        if kin == socket.AF_INET and style == socket.SOCK_RAW: data = data[(data[0] & 15) * 4:]
        address = place[0].partition("%")[0]
        if data[:1] == (b"\x81" if kin == socket.AF_INET6 else b"\0") and address in wanted: say(f"way:{name}:{wanted.pop(address)}", "open")
def attempt(ways):
    threads = [threading.Thread(target=knock, args=([way for way in ways if way.startswith("tcp ")],))]
    for kin in (socket.AF_INET, socket.AF_INET6):
        wanted = {way.split()[1]: way for way in ways if way.startswith("icmp ") and family(way.split()[1]) == kin}
        if wanted: threads.append(threading.Thread(target=ping, args=(kin, wanted)))
    for one in threads: one.start()
    for one in threads: one.join()
def state(one): return one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)[0]
def keep(flows):
    made = {way: one for way, one, code in dial(flows) if code == 0}
    first = {way.split()[1]: way for way in reversed(flows) if way in made} # of each address the first that is open
    kept = {way: one for way, one in made.items() if first[way.split()[1]] == way}
    del made
    if not kept: return
    door = socket.socket(socket.AF_UNIX)
    try: door.bind("\0recoverd-flows-" + run)
    except OSError: return # of an earlier attempt of this run: they do as well
    door.listen(1)
    for way in kept: say(f"way:{name}:{way}", "open")
    if os.fork(): return
    os.setsid()
    null = os.open("/dev/null", os.O_RDWR)
    for one in (0, 1, 2): os.dup2(null, one)
    try: answer(door, kept, time.monotonic() + seconds)
    finally: os._exit(0)
def whose(one): return struct.unpack("3i", one.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
def answer(door, kept, until):
    while (left := until - time.monotonic()) > 0:
        door.settimeout(left)
        caller, _ = door.accept()
        if whose(caller) == os.getuid(): break
        caller.close()
    else: return
    sent, until = {}, time.monotonic() + limit
    for way, one in kept.items():
        one.setblocking(False)
        if state(one) in (ESTABLISHED, CLOSE_WAIT):
            one.send(b"\n")
            sent[way] = one
    told = {way: "ended" for way in kept if way not in sent}
    while sent and time.monotonic() < until:
        for way, one in list(sent.items()):
            left = struct.unpack("i", fcntl.ioctl(one, termios.TIOCOUTQ, b"\0\0\0\0"))[0]
            reset = one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in (errno.ECONNRESET, errno.EPIPE)
            if reset or (left == 0 and state(one) in (ESTABLISHED, CLOSE_WAIT)):
                told[way] = "refused" if reset else "open"
                sent.pop(way)
        time.sleep(0.02)
    told.update(dict.fromkeys(sent, "silent"))
    caller.sendall("".join(f"{way}={how}\n" for way, how in told.items()).encode())
def passing():
    text = b""
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(limit + 3)
        try:
            one.connect("\0recoverd-flows-" + run)
            while whose(one) == os.getuid() and (part := one.recv(65536)): text += part
        except OSError: pass
    told = dict(line.split("=") for line in text.decode().splitlines())
    for way, how in told.items():
        if how in ("open", "refused"): say(f"way:{name}:{way}", how)
    for kin in (4, 6):
        if not any(how != "ended" for way, how in told.items() if (":" in way) == (kin == 6)): say(f"no:{name}:flow{kin}")
if verb == "keep": os.closerange(3, 256)
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096) if hard > 0 else 4096, hard))
lines = [line for line in sys.stdin.read().split("\n") if line]
ways = [line for line in lines if not line.startswith("flow ")]
for address in {line.split()[1] for line in lines}:
    if is_mine(address): say(f"mine:{address}")
if verb == "pass":
    asking = threading.Thread(target=passing)
    asking.start()
attempt(ways)
if verb == "pass": asking.join()
if verb == "keep": keep([line for line in lines if line.startswith("flow ")])
say(f"done:{name}")
'
