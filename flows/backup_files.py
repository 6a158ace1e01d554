"""Backup of files: a set a host, by the same steps as a base backup; see flows/backup.py.

One host that cannot be backed up does not keep the others from it.
"""

from __future__ import annotations

from flows.backup import make_set, refuse_without_key
from flows.fence import note_summary
from flows.keeping import Unread, choose_sites
from recoverd.backup import keys
from recoverd.errors import Invalid, RecoverdError, Refused, Stale, Unproven
from recoverd.step import decide
from recoverd.world import world
from tasks.sets import survey_sites
from tasks.taking import look_at_stream


def back_up_hosts(name: str) -> str:
    """The procedure itself; also what a plan walks through."""
    here = world()
    files = here.inventory.files[name]
    refuse_without_key(name)
    done, failed = [], {}
    hosts = hosts_wanted(name)
    for host in hosts:
        try:
            done.append(_back_up(files.archive(host), host))
        except Stale:
            raise
        except RecoverdError as error:
            here.say(f"{host} is not backed up: {error.message}")
            failed[host] = error
    if len(hosts) == len(failed) == 1:
        raise failed[hosts[0]]
    if failed:
        words = "; ".join(f"{host}: {error.message}" for host, error in failed.items())
        raise Unproven(
            f"{len(failed)} of {len(hosts)} hosts are not backed up: {words}",
            f"mend that, then take these alone: recoverd run backup {name} --host {next(iter(failed))} --reason …",
        )
    summary = "; ".join(done)
    note_summary(summary)
    return summary


def hosts_wanted(name: str) -> tuple[str, ...]:
    """The hosts of a backup of files, or the one that was asked for. Raises Invalid."""
    here = world()
    hosts = here.inventory.hosts_of(here.inventory.files[name])
    only = str(here.run.options.get("host") or "")
    if only and only not in hosts:
        raise Invalid(f"{name} is not about the host {only}", f"its hosts are {', '.join(hosts)}")
    if not hosts:
        raise Invalid(f"{name} has no hosts: the groups that it names are empty", "see `files` in backups.yaml")
    return (only,) if only else hosts


def _back_up(archive: str, host: str) -> str:
    here = world()
    seen = survey_sites(archive)
    source = choose_sites(archive, host, seen, keys.set_id(here.run.created_at, here.run.id))
    if source.refusal:
        raise Refused(f"the files of {host} are not backed up: {source.refusal}", f"see `recoverd sites {archive}`")
    judged = make_set(archive, source, unread)
    if judged is None:
        return f"would back the files of {host} up to {', '.join(source.sites)}"
    said = unread(archive, host, source.set).summary
    return f"{host}: {judged.summary}" + (f"; {said}" if said else "")


@decide("see what of {set_name} was not there, or changed")
def unread(archive: str, host: str, set_name: str) -> Unread:
    """As the host tells it before what it keeps of the set is dropped; the answer is kept."""
    stream = look_at_stream(archive, host, set_name)
    return Unread(missing=stream.missing, changed=stream.changed)
