"""Restored files put into their places on a host, each in one rename, after what is there was kept; and put back."""

from __future__ import annotations

from recoverd.connections import Completed
from recoverd.step import Effect, act, observe
from recoverd.world import world
from tasks.hosts import run_on
from tasks.origins import origin_of
from tasks.passages import backup_scope
from tasks.restoring import work_dir
from tasks.views import Facts

PLACE_TIME_LIMIT_S = 3600.0
_STATE_TIME_LIMIT_S = 600.0


class Outlook(Facts):
    """What putting restored files into their places would do.

    Attributes:
        refused: Why it must not be done; empty where it may.
        replaced: How many files would be replaced; the first of them are `names`.
        new: How many are not there now.
        left: How many of the set are no files, directories or links, and are not put anywhere.
        extras: What stands in these directories and the set does not have: it stays as it is.
    """

    host: str
    refused: str = ""
    replaced: int = 0
    new: int = 0
    left: int = 0
    names: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        if self.refused:
            return self.refused
        words = [f"on {self.host} {self.replaced} files are replaced and {self.new} are new"]
        if self.left:
            words.append(f"{self.left} are no files, directories or links, and are left out")
        if self.extras:
            more = ", …" if len(self.extras) > 3 else ""
            words.append(f"the set does not have, and so they stay: {', '.join(self.extras[:3])}{more}")
        return "; ".join(words)


def keep_dir(archive: str) -> str:
    """Where what was there before is kept on the host."""
    return f"/var/lib/recoverd/kept/{archive}/{world().run.id}"


@observe("see what would be replaced on {host}", time_limit_s=PLACE_TIME_LIMIT_S)
def observe_places(archive: str, host: str) -> Outlook:
    """Look at every place; changes nothing."""
    done = _run(archive, host, "look", timeout_s=PLACE_TIME_LIMIT_S)
    facts = done.facts()
    return Outlook(
        host=host, refused=facts.get("refused", ""), replaced=int(facts.get("replaced", 0)), new=int(facts.get("new", 0)),
        left=int(facts.get("left", 0)), names=_lines(done.out, "old"), extras=_lines(done.out, "extra"),
    )  # fmt: skip


def _are_placed(archive: str, host: str) -> Effect | None:
    facts = _run(archive, host, "state", timeout_s=_STATE_TIME_LIMIT_S).facts()
    if not {"kept", "placed", "same"} <= facts.keys():
        return None
    return Effect(
        f"the files are in their places on {host}; what was there is kept in {keep_dir(archive)}",
        {"host": host, "kept": keep_dir(archive)},
    )


def _this_keep(archive: str, host: str) -> dict[str, str]:
    return {"keep": keep_dir(archive), "work": work_dir(archive)}


@act(
    "put the restored files into their places on {host}",
    ask=_are_placed,
    undo="tasks.placing:put_back",
    remember=_this_keep,
    time_limit_s=PLACE_TIME_LIMIT_S,
    retries=0,
)
def put_in_places(archive: str, host: str) -> None:
    """Keep all that is there first, then write each file beside its place and rename it over.

    Raises:
        Look: Something could not be kept or written. What was kept stays for a resume, or an undo.
    """
    _run(archive, host, "place", timeout_s=PLACE_TIME_LIMIT_S)


def _are_back(archive: str, host: str, remembered: dict[str, str]) -> Effect | None:
    facts = _run(archive, host, "state", remembered, timeout_s=_STATE_TIME_LIMIT_S).facts()
    return None if "kept" in facts else Effect(f"what was there before is in its place again on {host}")


@act("put what was there before back on {host}", ask=_are_back, time_limit_s=PLACE_TIME_LIMIT_S)
def put_back(archive: str, host: str, remembered: dict[str, str]) -> None:
    """Undo: each file that was kept goes back, what was not there goes away."""
    _run(archive, host, "back", remembered, timeout_s=PLACE_TIME_LIMIT_S)


def _run(
    archive: str, host: str, verb: str, remembered: dict[str, str] | None = None, *, timeout_s: float
) -> Completed:
    place = remembered or _this_keep(archive, host)
    variables = {
        "SERVICE": backup_scope(archive), "VERB": verb, "WORK": place["work"], "KEEP": place["keep"],
        "EXCLUDE": origin_of(archive).variables(host)["EXCLUDE"],
    }  # fmt: skip
    return run_on("files_list+files_place", host, variables, timeout_s=timeout_s)


def _lines(text: str, word: str) -> tuple[str, ...]:
    return tuple(line.partition("=")[2] for line in text.splitlines() if line.startswith(f"{word}="))
