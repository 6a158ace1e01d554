"""Several servers take writes: which of them is the primary, and which came back. A pure function over what was seen.

A newer timeline alone proves nothing: after somebody's pg_promote on the wrong server, the older one is where users
write. So the newest counts as the primary only where something else says so too.
"""

from __future__ import annotations

from collections.abc import Sequence

from tasks.views import Answer, Facts, ServiceView


class Writers(Facts):
    """What several writers mean.

    Attributes:
        primary: The one that users are led to; empty where nothing proves it.
        returned: All others, which came back and are to be fenced; empty where nothing proves it.
        reason: What was seen, as a sentence.
        hint: The next move by hand; empty where none is needed.
    """

    primary: str = ""
    returned: tuple[str, ...] = ()
    reason: str
    hint: str = ""


def sort_out(view: ServiceView, promoted: str = "", promoted_timeline: int = 0) -> Writers:
    """Tell the primary from those that came back.

    Args:
        view: What was seen; more than one server takes writes in it.
        promoted: The host that recoverd promoted last, as the journal has it.
        promoted_timeline: The timeline that this led to.
    """
    first, *older = sorted(view.primaries, key=lambda host: view.server(host).timeline, reverse=True)
    newest = view.server(first).timeline
    ours = (promoted, promoted_timeline) == (first, newest)
    proof = "" if view.server(older[0]).timeline == newest else _proof(view, first, older, ours=ours)
    if not proof:
        return Writers(reason=_seen(view, (first, *older)), hint=_next_move(view, (first, *older)))
    reason = f"{first} is the primary on timeline {newest}, for {proof}; {', '.join(older)} came back on an older one"
    return Writers(primary=first, returned=tuple(older), reason=reason)


def _proof(view: ServiceView, first: str, older: Sequence[str], *, ours: bool) -> str:
    """What says, besides its timeline, that users belong to the first one; empty when nothing does."""
    if view.leader:
        return "Patroni names it the leader" if view.leader == first else ""
    held = view.host(first).addresses
    if ours and (held or not any(view.host(host).addresses for host in older)):
        return "recoverd promoted it"
    bare = all(view.host(host).answer is Answer.YES and not view.host(host).addresses for host in older)
    return f"it alone holds {', '.join(held)}" if held and bare else ""


def _seen(view: ServiceView, writers: Sequence[str]) -> str:
    words = [f"{host} on timeline {view.server(host).timeline}{_standing(view, host)}" for host in writers]
    return f"{', '.join(words[:-1])} and {words[-1]} all take writes, and nothing proves which of them came back"


def _standing(view: ServiceView, host: str) -> str:
    if host == view.leader:
        return " (Patroni's leader)"
    if view.host(host).answer is not Answer.YES:
        return " (its host cannot be asked)"
    held = view.host(host).addresses
    return f" (holds {', '.join(held)})" if held else ""


def _next_move(view: ServiceView, writers: Sequence[str]) -> str:
    holders = [view.leader] if view.leader else [host for host in writers if view.host(host).addresses]
    rejoin = f"then `recoverd run rejoin {view.service}`, which saves what only that one has"
    if len(holders) == 1 and holders[0] in writers:
        others = ", ".join(host for host in writers if host != holders[0])
        return (
            f"{holders[0]} is where users are led to: unless you know that they write elsewhere, stop PostgreSQL on "
            f"{others} by hand at once, {rejoin}"
        )
    return (
        "look on each for sessions of users (pg_stat_activity), stop PostgreSQL by hand at once where they do not "
        f"write, {rejoin}"
    )
