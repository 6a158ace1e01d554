"""What a sentinel concludes from look after look: pure, so that every case can be a line in a table.

One odd look is no news: a packet may be lost, a server may be restarting. A primary is called down only when as many
looks in a row as the policy asks for agree on it, each of them agreeing among controller, standbys and clients.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum

from flows.verdict import Diagnosis, Verdict
from tasks.views import Answer, Facts, ServerView

REPEAT_AFTER_S = 30.0


class News(str, Enum):
    """What is to be told."""

    NONE = "none"
    DOWN = "down"  # confirmed: raise the alert, or raise it again
    UP = "up"  # it was told to be down, and is served again: resolve the alert
    RETURNED = "returned"  # an old primary came back writable: it must be fenced
    ODD = "odd"  # something changed that is recorded, not acted on


class Watch(Facts):
    """What a sentinel knows of a service between two looks.

    Attributes:
        primary: The primary that was last seen well.
        against: Looks in a row that call for a failover.
        since: When the first of them was made, or when the alert was last repeated.
        told_at: When the alert for it was last raised.
        last: The verdict of the last look.
    """

    primary: str = ""
    against: int = 0
    since: datetime | None = None
    told_at: datetime | None = None
    last: Verdict | None = None

    @property
    def told(self) -> bool:
        """Whether the alert has been raised and not yet resolved."""
        return self.told_at is not None


def advance(watch: Watch, diagnosis: Diagnosis, at: datetime, confirmations: int) -> tuple[Watch, News]:
    """Take one more look into account.

    Args:
        watch: What was known.
        diagnosis: What the look says.
        at: When it began.
        confirmations: Looks in a row that must agree before the primary counts as down.

    Returns:
        What is known now, and what is to be told.
    """
    verdict = diagnosis.verdict
    changed = verdict is not watch.last
    if diagnosis.returned:
        news = News.RETURNED if changed else News.NONE
        return watch.model_copy(update={"last": verdict, "primary": diagnosis.primary}), news
    if verdict.calls_for_failover:
        return _against(watch, diagnosis, at, confirmations)
    served = verdict in {Verdict.HEALTHY, Verdict.DEGRADED}
    calm = Watch(primary=diagnosis.primary or watch.primary, last=verdict, told_at=None if served else watch.told_at)
    if watch.told and served:
        return calm, News.UP
    is_news = changed and not (watch.last is None and verdict is Verdict.HEALTHY)
    return calm, News.ODD if is_news else News.NONE


def _against(watch: Watch, diagnosis: Diagnosis, at: datetime, confirmations: int) -> tuple[Watch, News]:
    """One more look that calls for a failover.

    The alert is repeated while that lasts: the run it started may have been refused for a reason that passes, such as
    the cooldown. While a run is on its way, the intake only records the repetition.
    """
    against = watch.against + 1
    is_due = against >= confirmations and (
        watch.told_at is None or at - watch.told_at >= timedelta(seconds=REPEAT_AFTER_S)
    )
    repeated = is_due and watch.told_at is not None
    now = watch.model_copy(
        update={
            "against": against,
            "since": at if repeated else watch.since or at,
            "last": diagnosis.verdict,
            "told_at": at if is_due else watch.told_at,
            "primary": diagnosis.primary or watch.primary,
        }
    )
    return now, News.DOWN if is_due else News.NONE


def is_calm(servers: tuple[ServerView, ...]) -> bool:
    """Whether a quick look gives no reason for a closer one: one primary that takes writes, the others stream."""
    primaries = [server for server in servers if server.is_primary]
    if len(primaries) != 1 or primaries[0].writes is not Answer.YES:
        return False
    return all(
        server.answer is Answer.YES and server.receiver is not None and server.receiver.status == "streaming"
        for server in servers
        if server is not primaries[0]
    )
