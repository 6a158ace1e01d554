"""Evidence before change: what vanishes first is taken first, of all hosts at once."""

from __future__ import annotations

from collections.abc import Sequence

from flows.layers.doing import Done
from tasks.collecting import collect

AT_MOST = 32


def take_evidence(hosts: Sequence[str], moment: str) -> Done:
    """Take the evidence of hosts. One that gives none keeps nobody from going on: it is said, and written down.

    Args:
        hosts: Whose.
        moment: `before` or `after` they are cut off.
    """
    done = Done()
    done.do(collect, {host: (host, moment) for host in hosts}, at_most=AT_MOST)
    return done
