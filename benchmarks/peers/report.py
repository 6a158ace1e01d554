"""What the turns come to: figures by scenario, each peer against recoverd of the same run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import sentinel, switchover
from benchmarks.kit import figures
from benchmarks.peers.contestant import Contestant

RULER = (
    "four writers on app-1 try the members in turn and stay with the first that is no standby, as libpq does with "
    "target_session_attrs=read-write, but with 0.11 to 0.17 s of patience for each; nobody's address or proxy is used"
)
FIRST = "recoverd's sentinel"
WANTED_S = {"host loss": sentinel.TARGET_S, "postmaster loss": sentinel.TARGET_S, "switchover": switchover.TARGET_S}


@dataclass(frozen=True)
class Turn:
    """One turn of one contestant.

    Attributes:
        seconds: What users waited; None where it did not manage.
        writers: Who takes writes afterwards.
        failed: Why it did not manage.
        load: The machine's load average of the last minute: others may work on it too.
    """

    scenario: str
    name: str
    seconds: float | None
    writers: tuple[str, ...] = ()
    failed: str = ""
    load: float = 0.0

    def __str__(self) -> str:
        end = (
            self.failed if self.seconds is None else f"{self.seconds:.3f} s, {' and '.join(self.writers)} takes writes"
        )
        return f"{self.scenario}, {self.name}: {end} (load {self.load:.0f})"


def summary(
    everybody: Iterable[Contestant], turns: Sequence[Turn], versions: Mapping[str, str], skipped: Mapping[str, str]
) -> dict[str, Any]:
    """All there is to say, for JSON."""
    described = {
        one.name: {
            "version": versions[one.name],
            "settings": dict(one.settings),
            "fences": one.fences,
            "confirms": one.confirms,
        }
        for one in everybody
        if one.name in versions
    }
    scenarios: dict[str, dict[str, Any]] = {}
    for turn in turns:
        scenarios.setdefault(turn.scenario, {}).setdefault(turn.name, None)
    for scenario, found in scenarios.items():
        for name in found:
            found[name] = _line([turn for turn in turns if (turn.scenario, turn.name) == (scenario, name)])
        _add_ratios(found)
    return {"ruler": RULER, "contestants": described, "skipped": dict(skipped), "scenarios": scenarios}


def _line(turns: Sequence[Turn]) -> dict[str, Any]:
    took = [turn.seconds for turn in turns if turn.seconds is not None]
    return {
        **(figures(took) if took else {"count": 0}),
        "each_s": [round(seconds, 3) for seconds in took],
        "taking_writes": dict(Counter(" and ".join(turn.writers) for turn in turns if turn.seconds is not None)),
        "failed": [turn.failed for turn in turns if turn.seconds is None],
        "loads": [round(turn.load, 1) for turn in turns],
    }


def _add_ratios(found: Mapping[str, dict[str, Any]]) -> None:
    """How many times as long as recoverd each of them took, by medians."""
    own = found.get(FIRST, {}).get("median_s")
    for line in found.values():
        if own and "median_s" in line:
            line["ratio"] = round(line["median_s"] / own, 1)


def rows(found: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """The figures for the table: what, measured, wanted, reached; for a peer, how many times recoverd's time."""
    lines = [
        (f"{scenario}, {name}", _measured(line), *_verdict(scenario, name, line))
        for scenario, lines in found["scenarios"].items()
        for name, line in lines.items()
    ]
    return lines + [(name, f"left out: {reason}", "–", "–") for name, reason in found["skipped"].items()]


def _measured(line: Mapping[str, Any]) -> str:
    failed = f"; {len(line['failed'])} failed" if line["failed"] else ""
    if not line["count"]:
        return f"nothing{failed}"
    return f"{line['median_s']:.2f} s ({line['min_s']:.2f}–{line['max_s']:.2f}), {_who(line['taking_writes'])}{failed}"


def _who(taking: Mapping[str, int]) -> str:
    return ", ".join(f"on {name or 'nobody'}" for name in sorted(taking))


def _verdict(scenario: str, name: str, line: Mapping[str, Any]) -> tuple[str, str]:
    if name == FIRST:
        reached = bool(line["count"]) and not line["failed"] and line["max_s"] < WANTED_S[scenario]
        return f"< {WANTED_S[scenario]:g} s", "yes" if reached else "no"
    return "–", f"{line['ratio']} × recoverd" if "ratio" in line else "–"
