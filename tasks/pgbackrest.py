"""pgBackRest as it is asked: which of its repositories answer, what each holds, and what is wrong with it.

Each question is asked on the host where the repository stands, with limits of our own: pgBackRest itself waits for a dead site
for minutes, and then may end with 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from pydantic import Field

from recoverd.backup.repository import RepoInfo, Shelf, read_archive, read_info
from recoverd.backup.repository_faults import Fault, Verified, classify, error_of, read_verify
from recoverd.backup.wal import Switch, parse_history
from recoverd.connections import Completed
from recoverd.errors import Invalid, Look, Refused, Tampered, TryAgain
from recoverd.inventory import PgBackRest, Repository
from recoverd.world import world
from tasks.hosts import script
from tasks.together import together
from tasks.views import Facts

PROBE_S = 3
ASK_S = 30
IO_S = 5
VERIFY_S = 6 * 3600
_MOST_BYTES = 256 << 20
_SLACK_S = 10.0


class RepoView(Facts):
    """What was seen of one repository.

    Attributes:
        reached: Whether its place answers and pgBackRest could read it.
        problem: Why not.
        fault: What that means, as a value of `Fault`; empty where it was reached.
        info: Its sets.
        shelves: Its WAL, by cluster.
        histories: By cluster and timeline, the ancestors of that timeline.
        verified: What `verify` found, where that was asked.
    """

    site: str
    repo: int
    reached: bool
    problem: str = ""
    fault: str = ""
    info: RepoInfo = RepoInfo(code=0, message="")
    shelves: dict[str, Shelf] = Field(default_factory=dict)
    histories: dict[str, dict[int, tuple[Switch, ...]]] = Field(default_factory=dict)
    verified: Verified | None = None


def settings_of(service: str) -> PgBackRest:
    """How pgBackRest backs a service up. Raises Invalid."""
    found = world().inventory.pgbackrest.get(service)
    if found is None:
        raise Invalid(f"pgBackRest does not make the backups of {service}", "see `engine` in backups.yaml")
    return found


def repository(service: str, site: str) -> Repository:
    """The repository that is a site. Raises Invalid."""
    sites = settings_of(service).sites
    for one in sites:
        if one.name == site:
            return one
    raise Invalid(f"the backup of {service} has no site {site}", f"sites are {', '.join(one.name for one in sites)}")


def look_at_repositories(service: str, *, verify: bool = False, only: tuple[str, ...] = ()) -> tuple[RepoView, ...]:
    """Ask all repositories at once.

    Args:
        service: The service.
        verify: Whether each reads and hashes all that it holds.
        only: Names of sites; empty for all.
    """
    sites = [one for one in settings_of(service).sites if not only or one.name in only]
    calls: Mapping[str, Callable[[], RepoView]] = {one.name: partial(_look, service, one, verify) for one in sites}
    return tuple(together(calls).values())


def _look(service: str, site: Repository, verify: bool) -> RepoView:
    try:
        host = _asker(service, site)
        probe(service, site, host)
        info = read_info(_asked(service, site, host, "info"), site.repo)
        if not info.answers:
            fault = classify(125 if info.code == 99 else 55, info.message)
            return RepoView(
                site=site.name, repo=site.repo, reached=False, problem=info.message, fault=fault.value, info=info
            )
        shelves = read_archive(_asked(service, site, host, "list"))
        histories = {name: dict(_histories(service, site, host, name, shelf)) for name, shelf in shelves.items()}
        verified = read_verify(_asked(service, site, host, "verify", limit_s=VERIFY_S)) if verify else None
    except Away as error:
        return RepoView(site=site.name, repo=site.repo, reached=False, problem=error.message, fault=error.fault.value)
    except (TryAgain, Refused, Tampered, Look) as error:
        return RepoView(site=site.name, repo=site.repo, reached=False, problem=error.message, fault=Fault.DOWN.value)
    return RepoView(
        site=site.name, repo=site.repo, reached=True, info=info, shelves=shelves, histories=histories, verified=verified
    )


def _histories(
    service: str, site: Repository, host: str, archive: str, shelf: Shelf
) -> list[tuple[int, tuple[Switch, ...]]]:
    found = []
    for name in shelf.histories:
        text = _asked(service, site, host, "get", FILE=f"{archive}/{name}")
        found.append((int(name[:8], 16), parse_history(text)))
    return found


class Away(Look):
    """A repository did not do what was asked of it.

    Attributes:
        fault: What that means.
    """

    def __init__(self, message: str, hint: str = "", fault: Fault = Fault.OTHER) -> None:
        super().__init__(message, hint)
        self.fault = fault

    def __reduce__(self) -> tuple[type[Away], tuple[str, str, Fault]]:  # type: ignore[override]
        """Keep all of it when the error crosses a process border."""
        return (type(self), (self.message, self.hint, self.fault))


def _asker(service: str, site: Repository) -> str:
    """The first host that answers of those that can be asked about a repository. Raises TryAgain where none does."""
    *others, last = settings_of(service).askers(site)
    for host in others:
        try:
            world().connections.ssh(host, timeout_s=PROBE_S).check(PROBE_S)
        except TryAgain:
            world().connections.forget(host)
        else:
            return host
    return last


def probe(service: str, site: Repository, asking: str) -> None:
    """Whether a repository's place answers, within 3 s, before pgBackRest is let wait for it.

    Args:
        service: The service.
        site: The repository.
        asking: The host that will read from it.

    Raises:
        Away: It does not.
        TryAgain: The host itself does not.
    """
    if site.host == asking:
        world().connections.ssh(asking, timeout_s=PROBE_S).check(PROBE_S)
        return
    peer = world().inventory.host(site.host) if site.host else None
    done = _run(
        service, site, asking, "probe", limit_s=PROBE_S, URL=site.endpoint or "",
        ADDRESS=peer.address if peer else "", PEER_PORT=str(peer.port) if peer else "22",
    )  # fmt: skip
    if "reached" not in done.facts():
        words = done.facts().get("away") or done.err.strip() or f"exit {done.code}"
        place = site.endpoint or site.host
        raise Away(f"{place} does not answer {asking} ({words})", f"see the network from {asking} to there", Fault.DOWN)


def _asked(service: str, site: Repository, host: str, verb: str, *, limit_s: int = ASK_S, **more: str) -> str:
    done = _run(service, site, host, verb, limit_s=limit_s, **more)
    if done.code != 0:
        raise fault_of(site, f"{verb} on {host}", done.code, done.err)
    return done.out


def fault_of(site: Repository, what: str, code: int, said: str) -> Away:
    """The error that an exit code of pgBackRest is."""
    fault = classify(code, said)
    words = error_of(said) or f"exit {code}"
    hints = {
        Fault.WRONG_HOST: "run it where the repository stands: see `host` of the site in backups.yaml",
        Fault.BUSY: "another pgBackRest works on the stanza, or `pgbackrest stop` was said: wait, or say `pgbackrest start`",
        Fault.SETUP: "mend pgBackRest's configuration, or the account's rights, on that host",
    }
    return Away(
        f"the site {site.name} (repository {site.repo}) is {fault.value}: {what}: {words} [{code:03d}]",
        hints.get(fault, "see `recoverd sites`, and the repository itself"), fault,
    )  # fmt: skip


def _run(service: str, site: Repository, host: str, verb: str, *, limit_s: int, **more: str) -> Completed:
    wanted = settings_of(service)
    given = {
        "VERB": verb, "SERVICE": "", "OS_USER": wanted.account_of(site), "PGDATA": "/nonexistent", "PROGRAM": wanted.program,
        "CONFIG": wanted.config, "STANZA": wanted.stanza, "REPO": str(site.repo), "IO_S": str(IO_S), "LIMIT_S": str(limit_s),
        "MOST_BYTES": str(_MOST_BYTES), "URL": "", "FILE": "", "WORK": "", "JOB": "", **more,
    }  # fmt: skip
    ssh = world().connections.ssh(host, timeout_s=PROBE_S)
    return ssh.run(script("pgbackrest"), given, timeout_s=limit_s + _SLACK_S)
