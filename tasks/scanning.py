"""Looking for what ClamAV knows on a host. Nothing is changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from functools import partial

from recoverd.errors import Invalid, RecoverdError
from recoverd.isolation.cleanliness import Scan
from recoverd.step import observe
from recoverd.world import world
from tasks.hosts import run_host
from tasks.together import together
from tasks.views import Facts

SLACK_S = 60.0
"""Beside the scan itself: loading the signatures, listing the files."""
_LIMITS = "Heuristics.Limits.Exceeded"


class Finding(Facts):
    """A file that a signature knows."""

    path: str
    signature: str


class Scanned(Facts):
    """What a scan said.

    Attributes:
        at: When it began.
        unread: Files that were there and could not be read, or only in part.
        odd: Files whose names have line breaks in them, which are not scanned.
        code: clamscan's own: 0 nothing found, 1 found, 2 an error or no signatures, 124 out of time.
        problem: Why it says nothing about the host; empty when it does.
        hint: What to do then.
    """

    host: str
    at: datetime
    paths: tuple[str, ...]
    files: int = 0
    findings: tuple[Finding, ...] = ()
    unread: tuple[str, ...] = ()
    odd: int = 0
    code: int = -1
    through: bool = False
    engine: str = ""
    database: str = ""
    database_at: datetime | None = None
    signatures: int = 0
    problem: str = ""
    hint: str = ""

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        return self.problem or as_scan(self, "").summary


def as_scan(seen: Scanned, run: str) -> Scan:
    """As the journal has it. Pure."""
    return Scan(
        run=run, host=seen.host, at=seen.at, paths=seen.paths, files=seen.files,
        found=tuple(one.path for one in seen.findings), unread=len(seen.unread) + seen.odd, through=seen.through,
        engine=seen.engine, database=seen.database, database_at=seen.database_at, signatures=seen.signatures,
    )  # fmt: skip


class Scans(Facts):
    """What the scans of several hosts said."""

    turn: int
    seen: tuple[Scanned, ...]

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        return "; ".join(one.summary for one in self.seen)


@observe("scan hosts with ClamAV, turn {turn}", time_limit_s=25 * 3600.0)
def scan_hosts(hosts: Sequence[str], paths: Sequence[str], database: str, limit_s: int, turn: int) -> Scans:
    """Hold files of hosts against ClamAV's signatures. A host that cannot be asked, or cannot scan, is an answer too.

    Args:
        hosts: Where, all at once: each has work of its own.
        paths: Absolute paths; all files below them.
        database: File or directory of signatures on the hosts; empty: where freshclam puts them.
        limit_s: How long each scan may take.
        turn: Which look of the run it is.
    """
    calls = {host: partial(_scan, host, tuple(paths), database, limit_s) for host in hosts}
    return Scans(turn=turn, seen=tuple(together(calls).values()))


def _scan(host: str, paths: tuple[str, ...], database: str, limit_s: int) -> Scanned:
    journal = world().journal
    at = journal.now() if journal else datetime.now(timezone.utc)
    try:
        lines = _run(host, "scan", paths, database, limit_s)
    except RecoverdError as error:
        return Scanned(host=host, at=at, paths=paths, problem=error.message, hint=error.hint)
    return read_scan(host, paths, at, lines)


def read_scan(host: str, paths: tuple[str, ...], at: datetime, lines: Sequence[str]) -> Scanned:
    """What the script said, as facts. Pure."""
    facts = {key: value for key, sep, value in (line.partition("=") for line in lines if "\t" not in line) if sep}
    told = [line.split("\t", 2) for line in lines if line.count("\t") >= 2]
    findings = tuple(Finding(path=path, signature=name) for kind, name, path in told if kind == "found")
    partly = tuple(one.path for one in findings if one.signature.startswith(_LIMITS))
    unread = (*(path for kind, _, path in told if kind == "unread"), *partly)
    code, signatures = int(facts.get("code", -1)), int(facts.get("signatures") or 0)
    problem, hint = _problem(host, facts, code, signatures, explained=bool(unread))
    made_at = facts.get("database_at")
    return Scanned(
        host=host, at=at, paths=paths, files=int(facts.get("files") or 0), code=code, signatures=signatures,
        findings=tuple(one for one in findings if not one.signature.startswith(_LIMITS)),
        unread=unread, odd=int(facts.get("odd") or 0),
        through="through" in facts and code in {0, 1, 2}, engine=facts.get("engine", ""),
        database=facts.get("database", ""),
        database_at=datetime.fromtimestamp(int(made_at), timezone.utc) if made_at else None,
        problem=problem, hint=hint,
    )  # fmt: skip


def _problem(host: str, facts: dict[str, str], code: int, signatures: int, *, explained: bool) -> tuple[str, str]:
    """Why a scan says nothing about a host, and what to do: never may such a one read as clean."""
    again = f"then `recoverd run disinfect {host}` again"
    if "no_clamav" in facts:
        return f"there is no ClamAV on {host}", f"install clamav on {host}, {again}"
    if "no_database" in facts or (code != 124 and code >= 0 and not signatures):
        return (
            f"ClamAV on {host} has no signatures, so that its scan says nothing",
            f"run freshclam on {host}, or name signatures by --option database=PATH; {again}",
        )
    if "missing" in facts:
        return f"{facts['missing']} is not there on {host}", "name paths that exist by --option paths=…"
    if not int(facts.get("files") or 0):
        return f"there are no files to scan on {host}", "name paths with files by --option paths=…"
    if code in {124, 137}:
        return f"the scan of {host} did not end in time", "give it longer by --option limit=2h, or fewer paths"
    if code not in {0, 1} and ("through" not in facts or ("error" in facts and not explained)):
        return (
            f"clamscan on {host} failed (exit {code}): {facts.get('error', 'it says no more')}",
            f"mend that, {again}",
        )
    return "", ""


def read_paths(given: object) -> tuple[str, ...]:
    """The option `paths`: absolute, joined by commas; the whole host where it is not given.

    Raises:
        Invalid: One is not absolute, or has a line break in it.
    """
    texts = given if isinstance(given, list | tuple) else str(given or "/").split(",")
    paths = tuple(dict.fromkeys(str(one).strip().rstrip("/") or "/" for one in texts if str(one).strip()))
    for path in paths:
        if not path.startswith("/") or "\n" in path:
            raise Invalid(f"{path!r} is no absolute path", "for example --option paths=/srv,/tmp")
    return paths or ("/",)


def _run(host: str, verb: str, paths: Sequence[str], database: str, limit_s: int) -> list[str]:
    given = {"VERB": verb, "PATHS": "\n".join(paths), "DATABASE": database, "LIMIT_S": str(limit_s)}
    return run_host("scan", host, given, timeout_s=limit_s + SLACK_S).out.splitlines()
