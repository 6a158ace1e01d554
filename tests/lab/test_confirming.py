"""A look that confirms what one before it found, on real servers: quicker where nothing has changed, and not blind."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from failover_kit import SERVICE, Controller

from deployments.vigil import Vigil
from flows.verdict import Verdict, judge
from lab import Lab
from recoverd.execution import rehearsal
from recoverd.inventory import load
from recoverd.world import World
from tasks.observation import look
from tasks.patience import Patience
from tasks.views import ServiceView

pytestmark = pytest.mark.lab


@pytest.fixture
def here(recoverd: Controller) -> Iterator[World]:
    """A world of looks only, with its connections open."""
    with rehearsal("watch", SERVICE, load(recoverd.inventory)) as made:
        deadline = time.monotonic() + 10  # a receiver says that it streams a moment after its primary does
        while judge(look(SERVICE)).verdict is not Verdict.HEALTHY:
            assert time.monotonic() < deadline, judge(look(SERVICE)).summary
        yield made


def dead(view: ServiceView) -> ServiceView:
    assert judge(view).verdict is Verdict.DEAD, judge(view).summary
    return view


@pytest.mark.parametrize("fault", ["power-off", "partition"])
def test_a_host_that_is_still_gone_is_not_waited_for_again(here: World, lab: Lab, fault: str) -> None:
    lab.break_(fault, "db-1")
    first = dead(look(SERVICE, probe_write=True))
    again = dead(look(SERVICE, probe_write=True, earlier=first))
    lab.mend(fault, "db-1")
    limits = Patience(here.policy.probe_timeout_s)
    assert again.since == first.since
    assert first.since is not None
    assert (again.at - first.since).total_seconds() >= limits.full_s + limits.short_s
    assert (first.at - first.since).total_seconds() >= limits.full_s
    assert (again.at - first.at).total_seconds() < limits.full_s, "it took the whole patience once more"


def test_a_primary_that_answers_again_is_not_dead_however_long_it_was_silent(here: World, lab: Lab) -> None:
    lab.break_("partition", "db-1")
    first = dead(look(SERVICE))
    lab.mend("partition", "db-1")
    assert not judge(look(SERVICE, earlier=first)).verdict.calls_for_failover


@pytest.mark.parametrize("peers", [("controller", "db-2", "db-3"), ("controller", "app-1")])
def test_one_side_that_reaches_the_primary_again_is_enough(here: World, lab: Lab, peers: tuple[str, ...]) -> None:
    lab.break_("partition", "db-1")
    first = dead(look(SERVICE))
    lab.break_("partition", "db-1", peers=peers)
    again = judge(look(SERVICE, earlier=first))
    lab.mend("partition", "db-1")
    assert again.verdict is Verdict.PARTITIONED, again.summary


def test_a_pause_that_is_shorter_than_the_policy_allows_is_nothing_to_confirm(here: World, lab: Lab) -> None:
    """The primary pauses for 0.3 s, as a machine that is moved does; the policy says 0.5 s."""
    watch = Vigil(SERVICE, here.connections, 0.1, 10.0, lambda: look(SERVICE))
    thawing = threading.Timer(0.3, lab.mend, ("freeze", "db-1"))
    lab.break_("freeze", "db-1")
    thawing.start()
    watch.watch()
    thawing.join()
    assert watch.due_s is None, "it was looked into, and found well"
    assert watch.dead is None


def test_a_vigil_knows_of_a_silence_before_anybody_asks(here: World, lab: Lab) -> None:
    watch = Vigil(SERVICE, here.connections, 0.1, 10.0, lambda: look(SERVICE))
    watch.watch()
    assert watch.dead is None
    lab.break_("power-off", "db-1")
    watch.watch()
    assert watch.dead is not None
    began = time.monotonic()
    dead(look(SERVICE, earlier=watch.dead))
    assert time.monotonic() - began < here.policy.probe_timeout_s
