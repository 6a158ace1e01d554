"""A backup to three sites beside `pg_basebackup | zstd` to one, from the same server, in turn.

recoverd's time is that of the whole run: look, stream, encrypt, hash, bring to three sites, sign, read every byte back on each of
them. The other one's ends when its one file is on disk. Over free links its file is on the server's own disk (the least there is);
over limited ones it goes by SSH to the second site, for a backup that stays on its server is none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

from benchmarks.kit import Controller
from benchmarks.sites.kit import SITES, Timed, first, lab_with_sites, limited, median_of, seconds_of, timed_run
from lab import Lab
from lab.cluster import BIN, HOME
from recoverd.journal import Entry, RunRow

FREE, LIMITED = "free links", "200 Mbit/s a site"
OURS, THEIRS = "recoverd, three sites", "pg_basebackup | zstd, one site"
TARGET = 1.3
_SOURCE = SITES["own"]
_LIMIT_S = 600.0


def measure(
    directory: Path, runs: int, say: Callable[[str], None], only: Iterable[str] = (), size_mb: int = 2048
) -> dict[str, Any]:
    """The figures of both kinds of links."""
    wanted, found = tuple(only), dict[str, Any](size_mb=size_mb, scenarios={})
    with lab_with_sites(directory / "labs", size_mb, say) as lab, Controller(lab, directory / "home") as recoverd:
        _let_in(lab)
        for links in (FREE, LIMITED):
            if wanted and not any(part in links for part in wanted):
                continue
            with ExitStack() as stack:
                stack.enter_context(limited(lab) if links == LIMITED else nullcontext())
                each: dict[str, list[Timed]] = {OURS: [], THEIRS: []}
                for _ in range(runs):
                    each[OURS].append(_by_us(lab, recoverd))
                    each[THEIRS].append(_by_hand(lab, over_ssh=links == LIMITED))
                    for name, taken in each.items():
                        say(f"  {links}, {name}: {taken[-1].total_s:.2f} s {dict(taken[-1].phases)}")
                found["scenarios"] |= {f"{links}, {name}": median_of(taken) for name, taken in each.items()}
    return found


def _by_us(lab: Lab, recoverd: Controller) -> Timed:
    run, entries = timed_run(recoverd, "backup")
    return Timed(seconds_of(run), phases(run, entries), run.summary)


def phases(run: RunRow, entries: list[Entry]) -> dict[str, float]:
    """Seconds of each phase, from the journal."""
    assert run.ended_at is not None
    begun = first(entries, "step.intended", "begin_stream") or 0.0
    sealing = first(entries, "step.intended", "seal") or 0.0
    sealed = max(
        one.at.timestamp() for one in entries if one.kind == "step.done" and (one.step or "").startswith("seal(")
    )
    dropping = first(entries, "step.intended", "close_passage") or 0.0
    at = (run.created_at.timestamp(), begun, sealing, sealed, dropping, run.ended_at.timestamp())
    names = ("look and choose", "stream and ship", "sign", "read back", "clean up")
    return {name: round(later - earlier, 2) for name, earlier, later in zip(names, at, at[1:], strict=False)}


def _by_hand(lab: Lab, *, over_ssh: bool) -> Timed:
    where = f"host={lab.host(_SOURCE).address} user=replicator passfile={HOME}/.pgpass"
    stream = f"{BIN}/pg_basebackup -d '{where}' -D - -F tar -X fetch -c fast --no-password | zstd -q -T0 -3 -c"
    store = f"cat >{HOME}/by-hand.zst && sync {HOME}/by-hand.zst"
    began = time.monotonic()
    to = f"ssh -o BatchMode=yes {SITES['second']} '{store}'" if over_ssh else f"{{ {store}; }}"
    lab.run(_SOURCE, f"set -e; {stream} | {to}", user="postgres", timeout_s=_LIMIT_S)
    took = time.monotonic() - began
    lab.run(SITES["second"] if over_ssh else _SOURCE, f"rm {HOME}/by-hand.zst")
    return Timed(took, {})


def _let_in(lab: Lab) -> None:
    ssh, known = f"{HOME}/.ssh", (lab.state / "known_hosts").read_text()
    make = (
        f"umask 077; mkdir -p {ssh} && ssh-keygen -q -t ed25519 -N '' -f {ssh}/id_ed25519 && cat {ssh}/id_ed25519.pub"
    )
    key = lab.run(_SOURCE, make, user="postgres").out
    lab.run(_SOURCE, f"umask 077; cat > {ssh}/known_hosts", user="postgres", stdin=known)
    lab.run(SITES["second"], f"umask 077; mkdir -p {ssh} && cat >> {ssh}/authorized_keys", user="postgres", stdin=key)
    lab.run(SITES["second"], "sed -i 's/^postgres:!/postgres:*/' /etc/shadow")  # or sshd calls the account locked


def rows(found: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """The table: what, measured, wanted, reached."""
    lines = []
    for name, one in found["scenarios"].items():
        spread = f"{one['median_s']:.1f} s ({one['min_s']:.1f}–{one['max_s']:.1f})"
        parts = ", ".join(f"{phase} {seconds:.1f}" for phase, seconds in one["phases_s"].items())
        lines.append((f"backup, {name}", f"{spread}; {parts}".rstrip("; "), "–", "–"))
    for links in (FREE, LIMITED):
        mine, other = (found["scenarios"].get(f"{links}, {name}") for name in (OURS, THEIRS))
        if mine and other:
            ratio = mine["median_s"] / other["median_s"]
            reached = "yes" if ratio <= TARGET else "no"
            lines.append((f"backup, three sites / one by hand, {links}", f"{ratio:.2f} ×", f"≤ {TARGET:g}", reached))
    return lines
