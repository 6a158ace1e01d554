"""What is seen of a service: frozen facts that observations return and decisions are made from."""

from __future__ import annotations

from datetime import datetime
from enum import Enum

from pydantic import BaseModel, ConfigDict

from recoverd.connections import Reach

CONTROLLER = "controller"  # the vantage point that is this machine


class Facts(BaseModel):
    """A frozen record of facts."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Answer(str, Enum):
    """How a question to a host or a server ended."""

    YES = "yes"
    SILENT = "silent"  # no answer in time, or no way to it
    STARTING = "starting"  # it speaks, but serves nobody yet (or no more)
    REJECTED = "rejected"  # it refuses our login, or its host key is not the one we know
    STALLED = "stalled"  # logged in, but a statement hangs


class HostView(Facts):
    """What a host says of the server that should run on it, over SSH.

    Attributes:
        answer: Whether SSH worked at all; the other fields mean nothing unless it is YES.
        running: A postmaster of the data directory is there.
        frozen: It is stopped (state T); state D passes in any server that writes.
        processes: Living processes of the server, the postmaster included.
        startable: Its data is there. Not so on a volume that is not mounted, or that is held.
        held: The fence has taken away what no start can do without.
        masked: Its systemd unit is masked and does not run, so that systemd does not start it.
        promoting: It was told to promote itself and has not come to it yet: a hanging restore_command can take hours.
        fenced: The epoch and run that fenced the server, empty when it is not fenced.
        addresses: Virtual addresses of the service that this host holds.
        control_state: pg_control's cluster state, such as "in production".
        timeline: Timeline of the latest checkpoint.
        enabled_at_boot: systemd starts the server at boot; None where systemd does not manage it.
        free_bytes: Free space where the data lies.
        problem: Why SSH did not work.
    """

    host: str
    answer: Answer
    running: bool = False
    frozen: bool = False
    processes: int = 0
    standby_signal: bool = False
    startable: bool = False
    held: bool = False
    masked: bool = False
    promoting: bool = False
    fenced: str = ""
    epoch: int = 0
    addresses: tuple[str, ...] = ()
    control_state: str = ""
    timeline: int = 0
    system_identifier: str = ""
    enabled_at_boot: bool | None = None
    free_bytes: int | None = None
    problem: str = ""

    @property
    def bare(self) -> bool:
        """There is nothing of a server on a host that answers: no process, no address, no data."""
        there = self.running or self.processes or self.addresses or self.startable or self.held
        return self.answer is Answer.YES and not there


class Receiver(Facts):
    """A standby's WAL receiver (pg_stat_wal_receiver).

    Attributes:
        last_message_at: When it last heard from its primary, by the standby's clock; seconds since the epoch.
        heard: Whether it heard from it again while the look went on.
    """

    status: str
    sender_host: str = ""
    latest_end_lsn: int | None = None
    last_message_at: float | None = None
    heard: bool = False
    slot: str = ""


class Replica(Facts):
    """A standby as its primary sees it (pg_stat_replication)."""

    application: str
    address: str = ""
    state: str = ""
    sync_state: str = ""
    sent_lsn: int | None = None
    replay_lsn: int | None = None


class ServerView(Facts):
    """What a server says of itself over SQL, from the controller.

    Attributes:
        answer: How the question ended; the other fields mean nothing unless it is YES.
        in_recovery: A standby; a primary otherwise.
        read_only: default_transaction_read_only is on.
        timeline: The timeline it writes or receives on.
        written_lsn: A primary's current write position; bytes since the beginning of time.
        received_lsn: The newest WAL position a standby holds, received or restored, replayed or not.
        replayed_lsn: How far a standby has replayed.
        upstream: Address that a standby is told to stream from (primary_conninfo).
        writes: How a probing write on a primary ended: YES, STALLED (a hung disk), REJECTED (a full one); None on a
            standby, and where recoverd may not write; `problem` says why.
    """

    host: str
    answer: Answer
    in_recovery: bool = False
    read_only: bool = False
    timeline: int = 0
    system_identifier: str = ""
    written_lsn: int | None = None
    received_lsn: int | None = None
    replayed_lsn: int | None = None
    receiver: Receiver | None = None
    replicas: tuple[Replica, ...] = ()
    upstream: str = ""
    synchronous_standby_names: str = ""
    server_version: int = 0
    writes: Answer | None = None
    problem: str = ""

    @property
    def is_primary(self) -> bool:
        """It answers, and takes writes as far as recovery goes."""
        return self.answer is Answer.YES and not self.in_recovery


class Sight(Facts):
    """What one vantage point sees of one server's port."""

    vantage: str
    server: str
    reach: Reach


class ServiceView(Facts):
    """A service seen from every side at one time.

    Attributes:
        at: When the look ended.
        since: When it began, or the earlier one did that it confirms: who is silent in it, has been since then.
        addresses: By host: its own address.
        patroni: Patroni decides who is primary.
        leader: Host of Patroni's leader; asked only where several servers take writes, empty where it was not told.
    """

    service: str
    at: datetime
    since: datetime | None = None
    hosts: tuple[HostView, ...]
    servers: tuple[ServerView, ...]
    sights: tuple[Sight, ...]
    addresses: dict[str, str] = {}
    patroni: bool = False
    leader: str = ""

    def host(self, name: str) -> HostView:
        """What SSH to that host gave."""
        return next(view for view in self.hosts if view.host == name)

    def server(self, name: str) -> ServerView:
        """What SQL on that host gave."""
        return next(view for view in self.servers if view.host == name)

    def sights_of(self, server: str) -> tuple[Sight, ...]:
        """What every vantage point sees of that server."""
        return tuple(sight for sight in self.sights if sight.server == server)

    def is_contradicted(self, server: str) -> bool:
        """Whether what was seen of a server does not fit together: it went, or came, in the middle of the look.

        Its port greets the controller, or its own host says that it runs and moves, and yet it gave no session.
        """
        if self.server(server).answer not in {Answer.SILENT, Answer.STALLED}:
            return False
        host = self.host(server)
        greeted = any(sight.reach.alive for sight in self.sights_of(server) if sight.vantage == CONTROLLER)
        return greeted or (host.answer is Answer.YES and host.running and not host.frozen and not host.fenced)

    @property
    def primaries(self) -> tuple[str, ...]:
        """Hosts whose servers say that they are primaries."""
        return tuple(view.host for view in self.servers if view.is_primary)

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        return "; ".join(_line(self, view) for view in self.servers)


def _line(view: ServiceView, server: ServerView) -> str:
    if server.answer is Answer.YES:
        return f"{server.host} {'standby' if server.in_recovery else 'primary'} on timeline {server.timeline}"
    sights = view.sights_of(server.host)
    if not sights:
        return f"{server.host} {server.problem}"
    seen = sum(1 for sight in sights if sight.reach.alive)
    host = view.host(server.host)
    process = "ssh silent" if host.answer is not Answer.YES else "no process"
    if host.running:
        process = "process frozen" if host.frozen else "process runs"
    return f"{server.host} {server.answer.value} ({process}, answers {seen} of {len(sights)} vantage points)"


def lsn_to_int(text: str | None) -> int | None:
    """A WAL position such as 0/3000060 as a number of bytes.

    >>> lsn_to_int("1/10")
    4294967312
    """
    if not text:
        return None
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def lsn_to_text(position: int | None) -> str:
    """The other way round; empty for None."""
    return "" if position is None else f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"
