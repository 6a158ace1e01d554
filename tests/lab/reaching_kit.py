"""Packet filters of a lab's host with one hole each, and a look at it from its peers, as a run has it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from failover_kit import Controller

from lab import Lab
from recoverd.execution import execution

# The rules of tasks/scripts/cut.sh by hand, so that a hole in those would not be one here as well.
RULES = """\
table inet cut {
 chain in { type filter hook input priority -10; policy accept;
  iifname "lo" accept
  ip saddr %(controller)s tcp dport 22 accept
  icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
  %(in)s
  drop
 }
 chain out { type filter hook output priority -10; policy accept;
  oifname "lo" accept
  ip daddr %(controller)s tcp sport 22 accept
  icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
  %(out)s
  meta l4proto tcp reject with tcp reset
  drop
 }
 chain through { type filter hook forward priority -10; policy accept;
  %(through)s
 }
}
"""


def shut(lab: Lab, host: str, *, in_: str = "", out: str = "", through: str = "drop") -> None:
    """Cut a host off, all but what these rules let pass."""
    places = {"controller": lab.layout.controller, "in": in_, "out": out, "through": through}
    lab.run(host, "nft -f -", stdin=RULES % places)


def opened(lab: Lab, host: str) -> None:
    """Take those rules off."""
    lab.run(host, "nft delete table inet cut; nft delete table inet tracked", check=False)


@contextmanager
def looking(recoverd: Controller, *hosts: str) -> Iterator[None]:
    """A run on these hosts that only looks."""
    recoverd.target = ",".join(hosts)
    row = recoverd.request("isolate")
    with execution("isolate", recoverd.target, row.id, row.reason, row.options):
        yield


def keepers(lab: Lab, host: str) -> list[str]:
    """Processes of a host that try something or keep a flow."""
    lines = lab.run(host, ["ps", "-eo", "pid=,args="]).out.splitlines()
    return [line for line in lines if "recoverd-flows" in line]
