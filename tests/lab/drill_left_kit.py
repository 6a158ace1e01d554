"""What a drill may leave behind on the lab: nothing; and a broom for tests that fail."""

from __future__ import annotations

from failover_kit import SERVICE

from lab import Lab
from recoverd.journal import RunRow

SCRATCH = "/var/lib/recoverd/restore"
HOST = "backup-1"


def sweep(lab: Lab, run: RunRow) -> None:
    """A test's own broom, whatever the test did."""
    data = f"{SCRATCH}/{SERVICE}/{run.id}/data"
    stop = f"[ ! -f {data}/postmaster.pid ] || kill -QUIT $(head -1 {data}/postmaster.pid)"
    lab.run(HOST, f"{stop}; sleep 0.3; rm -rf {SCRATCH}/{SERVICE}/{run.id}", check=False)


def left(lab: Lab) -> str:
    """What of any drill is still on the drill host: directories, keys, processes; and ways into the sites."""
    files = lab.run(HOST, f"ls -A {SCRATCH}/{SERVICE} /var/lib/recoverd/passage 2>/dev/null | grep dr-", check=False)
    found = f"find /proc -maxdepth 3 \\( -path '*/fd/*' -o -path '*/cwd' \\) -lname '{SCRATCH}/*' -printf '%l '"
    working = lab.run(HOST, found, check=False)
    ways = lab.run("db-2", "grep -h recoverd-dr- /root/.ssh/authorized_keys", check=False)
    return (files.out + working.out + ways.out).strip()
