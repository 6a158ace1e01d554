"""What is known of an old primary after Patroni has moved its role, and of the standbys that Patroni leads to the new."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from recoverd.step import observe
from recoverd.world import world
from tasks.hosts import view_host
from tasks.postgres import view_server
from tasks.together import together
from tasks.views import Answer, Facts, HostView, ServerView

DEMOTES_WITHIN_S = 3.0
LOOK_EVERY_S = 0.2


class Standing(Facts):
    """What keeps an old primary from taking writes.

    Attributes:
        reached: Its host answers over SSH.
        writing: Its server takes writes, or runs and does not say that it does not.
        reason: What is known, or what one has to rely on.
    """

    host: str
    reached: bool
    writing: bool
    reason: str

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        return self.reason


@observe("see what keeps {old} from taking writes")
def observe_standing(service: str, old: str, ttl_s: int) -> Standing:
    """Look at the old primary; one whose Patroni is alive gets a moment to demote it."""
    here = world()
    wanted, limit_s = here.inventory.service(service), here.policy.probe_timeout_s
    deadline = time.monotonic() + DEMOTES_WITHIN_S
    looks: dict[str, Any] = {
        "host": partial(view_host, wanted, old, connect_timeout_s=limit_s),
        "server": partial(view_server, wanted, old, connect_timeout_s=limit_s),
    }
    while True:
        found = together(looks)
        standing = judge_standing(found["host"], found["server"], ttl_s)
        if here.dry_run:
            return standing.model_copy(
                update={"writing": False, "reason": f"{old} is looked at once Patroni has acted"}
            )
        if not standing.writing or time.monotonic() > deadline:
            return standing
        time.sleep(LOOK_EVERY_S)


def judge_standing(host: HostView, server: ServerView, ttl_s: int) -> Standing:
    """The rule behind it, for a look at the host and one at the server."""
    name, reached = host.host, host.answer is Answer.YES
    if server.answer is Answer.YES and server.in_recovery:
        return Standing(host=name, reached=reached, writing=False, reason=f"{name} runs read-only, as a standby")
    if server.answer is Answer.YES:
        reason = f"{name} takes writes although Patroni has another leader: no Patroni governs it"
        return Standing(host=name, reached=reached, writing=True, reason=reason)
    if reached and not host.running:
        reason = f"no PostgreSQL runs on {name}; Patroni may start it, as a standby of the new leader"
        return Standing(host=name, reached=True, writing=False, reason=reason)
    if reached:
        reason = f"PostgreSQL runs on {name} and does not answer: what it would take is not known"
        return Standing(host=name, reached=True, writing=True, reason=reason)
    reason = (
        f"{name} cannot be asked ({host.problem}); one relies on Patroni: it makes a leader read-only that cannot renew "
        f"its lock for {ttl_s} s, unless Patroni itself hangs or was killed there and no watchdog resets the host"
    )
    return Standing(host=name, reached=False, writing=False, reason=reason)


class Streaming(Facts):
    """Which standbys stream from the new leader, and how long that took."""

    hosts: tuple[str, ...]
    missing: tuple[str, ...]
    seconds: float

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        missing = f"; not {', '.join(self.missing)}" if self.missing else ""
        return f"{', '.join(self.hosts) or 'nobody'} streams{missing}, after {self.seconds:.1f} s"


@observe("wait for {standbys} to stream", time_limit_s=150.0)
def await_standbys(service: str, standbys: tuple[str, ...], limit_s: float) -> Streaming:
    """Let Patroni lead the standbys to the new leader: it does so at each one's next turn."""
    here = world()
    wanted, started = here.inventory.service(service), time.monotonic()
    while True:
        views = together(
            {
                host: partial(view_server, wanted, host, connect_timeout_s=here.policy.probe_timeout_s)
                for host in standbys
            }
        )
        streaming = tuple(host for host, view in views.items() if _streams(view))
        waited_s = time.monotonic() - started
        if len(streaming) == len(standbys) or waited_s > limit_s:
            missing = tuple(host for host in standbys if host not in streaming)
            return Streaming(hosts=streaming, missing=missing, seconds=round(waited_s, 3))
        time.sleep(LOOK_EVERY_S)


def _streams(view: ServerView) -> bool:
    return view.answer is Answer.YES and view.receiver is not None and view.receiver.status == "streaming"
