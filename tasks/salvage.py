"""WAL of an old primary that never reached the new one: measured, saved, and decoded before anything overwrites it."""

from __future__ import annotations

import base64
import re

from recoverd.errors import Look, RecoverdError
from recoverd.inventory import Service
from recoverd.step import observe
from recoverd.words import counted
from recoverd.world import world
from tasks.hosts import run_script
from tasks.postgres import LOGIN_TIMEOUT_S, QUERY_TIMEOUT_S, view_server
from tasks.views import Facts, lsn_to_int, lsn_to_text
from tasks.wal import FOREVER, Stretch, history, parted, segments_of

SURVEY_TIMEOUT_S = 60.0
SSH_MARGIN_S = 5.0

_HISTORY = "select pg_read_file('pg_wal/' || lpad(upper(to_hex(%s)), 8, '0') || '.history', 0, 1000000, true)"


class WalFacts(Facts):
    """What a stopped server's control file and WAL directory say.

    Attributes:
        data_dir: There is a data directory at all.
        unfit: An earlier pg_rewind of it did not come to its end.
        running: A postmaster runs in it.
        state: pg_control's cluster state.
        checkpoint_lsn: Where its latest checkpoint record stands.
        timeline: The newest timeline that it has WAL of.
        history: Text of that timeline's history file.
        rewindable: Its pages have checksums, or its WAL has hint bits: pg_rewind can tell what changed.
        waldump, psql: These programs are there.
    """

    data_dir: bool
    unfit: bool = False
    running: bool = False
    state: str = ""
    system_identifier: str = ""
    checkpoint_lsn: int = 0
    timeline: int = 0
    history: str = ""
    segment_bytes: int = 16 << 20
    rewindable: bool = False
    waldump: bool = False
    psql: bool = False
    free_bytes: int = 0

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        if not self.data_dir:
            return "there is no data directory"
        return f"{self.state}, with WAL of timeline {self.timeline}"


class Piece(Facts):
    """WAL on one timeline, from `start` to `end` in bytes since the beginning of time."""

    timeline: int
    start: int
    end: int

    @property
    def summary(self) -> str:
        """As PostgreSQL writes it."""
        return f"timeline {self.timeline} from {lsn_to_text(self.start)} to {lsn_to_text(self.end)}"


class Loss(Facts):
    """What an old primary had written and the new one does not have.

    Attributes:
        bytes: WAL after the point where the timelines part.
        transactions: Commits in it.
        known: Whether it could be measured; bytes and transactions mean nothing otherwise.
        reason: Why not.
        pieces: Where that WAL lies.
    """

    bytes: int = 0
    transactions: int = 0
    known: bool
    reason: str = ""
    pieces: tuple[Piece, ...] = ()

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        if not self.known:
            return f"loss not known yet: {self.reason}"
        were = "was" if self.transactions == 1 else "were"
        return f"{counted(self.transactions, 'transaction')} ({self.bytes} bytes of WAL) {were} not replicated"


@observe("measure what {old_primary} had not sent to {new_primary}", time_limit_s=SURVEY_TIMEOUT_S * 2)
def survey_loss(service: str, old_primary: str, new_primary: str) -> Loss:
    """Measure what the old primary's WAL holds beyond the new one's beginning, without starting anything.

    The old server should be stopped: WAL that it goes on writing is not counted. Never raises for a host or a server
    that cannot be asked: then the loss is not known.
    """
    wanted = world().inventory.service(service)
    try:
        facts = wal_facts(wanted, old_primary)
        if not facts.data_dir:
            return Loss(known=False, reason=f"{old_primary} has no data directory")
        if not facts.waldump:
            return Loss(
                known=False, reason=f"{old_primary} has no pg_waldump in {wanted.postgres_of(old_primary).bin_dir}"
            )
        pieces = tuple(
            _measure(wanted, old_primary, stretch, facts) for stretch in _own_wal(wanted, facts, new_primary)
        )
    except RecoverdError as error:
        return Loss(known=False, reason=error.message)
    reasons = "; ".join(reason for _, _, reason in pieces if reason)
    return Loss(
        bytes=sum(piece.end - piece.start for piece, _, _ in pieces),
        transactions=sum(commits for _, commits, _ in pieces),
        known=not reasons,
        reason=reasons,
        pieces=tuple(piece for piece, _, _ in pieces if piece.end > piece.start),
    )


def wal_facts(service: Service, host: str) -> WalFacts:
    """Ask a host for the facts about its WAL; also right while the server runs.

    Raises:
        TryAgain: The host could not be reached.
    """
    said = run_script("wal_facts", service, host, {}, timeout_s=10.0).facts()
    newest = int(said["wal_timeline"], 16) if said.get("wal_timeline") else 0
    return WalFacts(
        data_dir="data_dir" in said,
        unfit="unfit" in said,
        running="running" in said,
        state=said.get("state", ""),
        system_identifier=said.get("system_identifier", ""),
        checkpoint_lsn=lsn_to_int(said.get("checkpoint")) or 0,
        timeline=max(newest, int(said.get("timeline") or 0)),
        history=base64.b64decode(said.get("history", "")).decode(),
        segment_bytes=int(said.get("segment_bytes") or 16 << 20),
        rewindable=said.get("checksums", "0") != "0" or said.get("hints") == "on",
        waldump="waldump" in said,
        psql="psql" in said,
        free_bytes=int(said.get("free_kb") or 0) * 1024,
    )


def segments(facts: WalFacts, loss: Loss) -> tuple[str, ...]:
    """Names of the files that hold the WAL of a loss."""
    names = (segments_of(piece.timeline, piece.start, piece.end, facts.segment_bytes) for piece in loss.pieces)
    return tuple(name for group in names for name in group)


def _own_wal(service: Service, facts: WalFacts, new_primary: str) -> tuple[Stretch, ...]:
    """The stretches of the old server's history that the new primary's does not contain."""
    view = view_server(service, new_primary, connect_timeout_s=world().policy.probe_timeout_s)
    session = world().connections.sql(service, new_primary, timeout_s=LOGIN_TIMEOUT_S)
    text = session.value(_HISTORY, (view.timeline,), timeout_s=QUERY_TIMEOUT_S) or ""
    theirs = history(text, view.timeline)
    return own_stretches(facts, theirs)


def own_stretches(facts: WalFacts, theirs: tuple[Stretch, ...]) -> tuple[Stretch, ...]:
    """What the history of a server has beyond that of a primary.

    Raises:
        Look: Two servers were promoted to a timeline of the same number, which pg_rewind would take for one.
    """
    mine = history(facts.history, facts.timeline)
    if facts.timeline != theirs[-1].timeline:
        return parted(mine, theirs)
    if facts.history and mine != theirs:
        raise Look(f"its timeline {facts.timeline} began elsewhere than the primary's of the same number")
    return ()  # the same branch: a standby's WAL, never more than its primary's


def _measure(service: Service, host: str, stretch: Stretch, facts: WalFacts) -> tuple[Piece, int, str]:
    """The piece that is really there, its commits, and why it could not be measured (empty when it could)."""
    variables = {
        "TIMELINE": str(stretch.timeline),
        "START": lsn_to_text(stretch.start),
        "WAL": f"{service.postgres_of(host).data_dir}/pg_wal",
        "SEGMENT": segments_of(stretch.timeline, stretch.start, stretch.start, facts.segment_bytes)[0],
        "LIMIT_S": str(int(SURVEY_TIMEOUT_S)),
    }
    done = run_script("wal_count", service, host, variables, timeout_s=SURVEY_TIMEOUT_S + SSH_MARGIN_S)
    return _read_count(stretch, done.facts(), host)


def _read_count(stretch: Stretch, said: dict[str, str], host: str) -> tuple[Piece, int, str]:
    last = re.search(r"len \(rec/tot\):\s*\d+/\s*(\d+),.* lsn: ([0-9A-F]+/[0-9A-F]+)", said.get("last", ""))
    if last is None:
        nothing = Piece(timeline=stretch.timeline, start=stretch.start, end=stretch.start)
        nobody_wrote = "absent" in said or "could not find a valid record" in said.get("said", "")
        if nobody_wrote or stretch.end != FOREVER:
            return nothing, 0, ""
        return nothing, 0, f"pg_waldump on {host} said: {said.get('said') or 'nothing'}"
    end = min((lsn_to_int(last[2]) or 0) + int(last[1]), stretch.end)
    return Piece(timeline=stretch.timeline, start=stretch.start, end=end), int(said["commits"]), ""
