"""Ways for hosts to move parts to and from sites by themselves: bytes take the shortest way, past the controller.

A host reaches a directory on another host with a key that is made there for the run, is let in for two commands on one
archive only, and is worth nothing after a day. A bucket is reached by presigned addresses.
"""

from __future__ import annotations

import time

from paramiko.hostkeys import HostKeys

from recoverd.errors import Invalid
from recoverd.inventory import BackupSite, Host, HostSite
from recoverd.step import Effect, act
from recoverd.world import world
from tasks.hosts import run_on

RENEWED_AFTER_S = 6 * 3600.0  # it is worth 24 h
_TIMEOUT_S = 20.0
_opened: dict[tuple[str, str, str, str], float] = {}  # when this process opened one: run, service, host, site


def backup_scope(service: str) -> str:
    """The name under which hosts keep the epoch of backups and restores of a service, which have a lock of their own."""
    return f"{service}.backup"


def the_site(service: str, name: str) -> BackupSite:
    """A site of a service's backup. Raises Invalid."""
    sites = world().inventory.backup_of(service).sites
    for site in sites:
        if site.name == name:
            return site
    raise Invalid(f"the backup of {service} has no site {name}", f"sites are {', '.join(site.name for site in sites)}")


def needs_passage(service: str, host: str, site: str) -> bool:
    """Whether a host needs a passage to a site: not to a bucket, and not to its own directories."""
    found = the_site(service, site)
    return isinstance(found, HostSite) and found.host != host


def passage_name(service: str) -> str:
    """What the passages of this run are called on the hosts; an undo takes back those of the run that it undoes.

    Of files, those of each of its hosts have a name of their own: they belong to one run.
    """
    here = world()
    run = str(here.run.options["run"]) if here.run.procedure == "undo" and here.run.options.get("run") else here.run.id
    if here.inventory.files_of(service) is None:
        return run
    return f"{service.partition('.')[2]}.{run}"  # the host first: no name of one is the beginning of another's


def _is_open(service: str, host: str, site: str) -> Effect | None:
    public = _public(service, host)
    if not public or "let" not in _at_the_site(service, site, "ask", PUBLIC=public):
        return None
    return Effect(f"{host} may move parts to and from the site {site}, for a day at most", {"host": host, "site": site})


@act(
    "let {host} move parts to and from the site {site}",
    ask=_is_open,
    undo="tasks.passages:close_passage",
    time_limit_s=_TIMEOUT_S,
)
def open_passage(service: str, host: str, site: str) -> None:
    """Make a key on the host, and let it in at the site's host, for `get` and `put` of this archive."""
    there = world().inventory.host(_host_site(service, site).host)
    made = _on_the_host(service, host, "key", KNOWN=known_line(there))
    _at_the_site(service, site, "let", PUBLIC=made["public"])
    _opened[passage_name(service), service, host, site] = time.monotonic()


def renew_passage(service: str, host: str, site: str) -> None:
    """Let it in for another day, where this process has not done so for some hours: a run that goes on may have begun long ago."""
    opened = _opened.get((passage_name(service), service, host, site))
    if needs_passage(service, host, site) and (opened is None or time.monotonic() - opened > RENEWED_AFTER_S):
        open_passage.function(service, host, site)


def _is_closed(service: str, host: str, site: str) -> Effect | None:
    public = _public(service, host)
    if public and "let" in _at_the_site(service, site, "ask", PUBLIC=public):
        return None
    return Effect(f"{host} has no way to the site {site} any more", {"host": host, "site": site})


@act("close the way of {host} to the site {site}", ask=_is_closed, time_limit_s=_TIMEOUT_S)
def close_passage(service: str, host: str, site: str) -> None:
    """Take the key's right away. The key itself goes with the last of the run's passages, see `forget_key`."""
    _at_the_site(service, site, "drop")


def forget_key(service: str, host: str) -> None:
    """Remove the run's key from the host that had it. May be repeated."""
    _on_the_host(service, host, "forget")


def known_line(host: Host) -> str:
    """The host's key as a line for another host's known_hosts.

    Raises:
        Invalid: recoverd itself does not know it.
    """
    name = host.address if host.port == 22 else f"[{host.address}]:{host.port}"
    path = host.known_hosts
    found = HostKeys(str(path) if path else None).lookup(name) if path is None or path.exists() else None
    if not found:
        raise Invalid(
            f"the SSH host key of {host.name} ({name}) is not in {path or '~/.ssh/known_hosts'}",
            "compare its fingerprint on the console, then add it there",
        )
    return "\n".join(f"{name} {kind} {key.get_base64()}" for kind, key in found.items())


def _host_site(service: str, site: str) -> HostSite:
    found = the_site(service, site)
    assert isinstance(found, HostSite)  # noqa: S101  # passages are for such sites alone, see needs_passage
    return found


def _public(service: str, host: str) -> str:
    return _on_the_host(service, host, "show").get("public", "")


def _on_the_host(service: str, host: str, verb: str, **more: str) -> dict[str, str]:
    return _run(service, host, {"VERB": verb, **more})


def _at_the_site(service: str, site: str, verb: str, **more: str) -> dict[str, str]:
    place = _host_site(service, site)
    host = world().inventory.host(place.host)
    login = {"LOGIN": host.user, "SITE": place.path, "ARCHIVE": service, "BECOME": "1" if host.become else ""}
    return _run(service, place.host, {"VERB": verb, "PUBLIC": "", **login, **more})


def _run(service: str, host: str, variables: dict[str, str]) -> dict[str, str]:
    given = {"PASSAGE": passage_name(service), "SERVICE": backup_scope(service), **variables}
    return run_on("passage", host, given, timeout_s=_TIMEOUT_S).facts()
