"""`recoverd sites …`: what each backup site of a service holds, whether every byte of it is right, and making it so."""

from __future__ import annotations

from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from gateway.cli.holdings import show
from gateway.cli.options import Output, Target, the_inventory, the_journal
from gateway.cli.output import Format, emit, note, rows_table, write
from gateway.cli.running import Queue, Reason, Timeout, Wait, permitted
from gateway.cli.running import run as start_run
from gateway.cli.set_files import list_files

if TYPE_CHECKING:
    from flows.mending import Judgement
    from recoverd.journal import Journal
    from tasks.sets import Survey


class _SurveyByDefault(TyperGroup):
    """`recoverd sites SERVICE` is `recoverd sites survey SERVICE`."""

    default = "survey"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in {"--help", "-h"}:
            args = [self.default, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_SurveyByDefault,
    no_args_is_help=True,
    help="What the backup sites of a service hold. `recoverd sites SERVICE` is `recoverd sites survey SERVICE`.",
)


app.command("files")(list_files)


@app.command("survey")
def survey_sites(service: Target, output: Output = Format.table) -> None:
    """Show what each backup site holds: sets, whether all files are there, free space. Reads no bytes.

    Exits with 1 where a site does not answer, is in quarantine, or a set is not whole on it. Of a backup of files, one host
    after another; NAME.HOST is that host alone.
    """
    if service in the_inventory().pgbackrest:
        show(service, output, read=False)
        return
    if not all([*map(partial(_show, output=output), the_inventory().archives_of(service))]):
        raise typer.Exit(1)


def _show(service: str, output: Format) -> bool:
    """Whether nothing is wrong with what the sites hold of a service, or of the files of one host."""
    found = _survey(service, read=False)
    rows = _rows(found)
    emit(
        _data(found), output, lambda: rows_table(rows, ("set", *(site.site for site in found.sites), "size", "source"))
    )
    wrong = [f"{site.site}: {site.problem}" for site in found.sites if not site.reached]
    wrong += [f"{site.site} is in quarantine, {site.quarantined}" for site in found.sites if site.quarantined]
    wrong += _not_whole(found)
    for words in wrong:
        note(words)
    note(f"only sizes were compared; recoverd sites verify {service} reads every byte")
    return not wrong


@app.command("verify")
def verify(service: Target, output: Output = Format.table) -> None:
    """Read every byte on every site, and hold the sites against the signatures and each other. Changes no site.

    Says of each file that is not right whether it is damaged, missing or tampered with, and the evidence. A site that was
    tampered with is quarantined in the journal. Exits with 1 where something is wrong. Of a backup of files, one host after
    another; NAME.HOST is that host alone.
    """
    if service in the_inventory().pgbackrest:
        show(service, output, read=True)
        return
    if not all([*map(partial(_verify, output=output), the_inventory().archives_of(service))]):
        raise typer.Exit(1)


def _verify(service: str, output: Format) -> bool:
    from flows.heal import note_verdicts
    from flows.mending import judge_survey
    from recoverd import person

    inventory, journal, began = the_inventory(), the_journal(), datetime.now(timezone.utc)
    found = _survey(service, read=True)
    judged = judge_survey(found, inventory.backup_of(service), began)
    if changing := _changed_since(journal, service, began):
        note(f"run {changing} worked on the sites meanwhile: what was found is not written down; repeat it")
    else:
        note_verdicts(journal, inventory, service, judged, who=person.current(inventory).name)
    rows = _wrong_files(found)
    data = {**judged.model_dump(mode="json"), "clean": judged.clean, "files": rows}
    columns = ("set", "file", *(site.site for site in found.sites), "evidence")
    emit(data, output, lambda: rows_table(rows, columns) if rows else write(judged.summary))
    _say(judged)
    if not judged.clean:
        files = inventory.files_of(service)
        note(f"recoverd plan heal {files.name if files else service} says what can be healed, and from where")
    return bool(judged.clean)


@app.command("heal")
def heal(
    service: Target,
    reason: Reason,
    site: Annotated[str, typer.Option("--site", help="Heal this site alone.")] = "",
    wait: Wait = False,
    timeout_s: Timeout = 3600,
    queue: Queue = False,
    output: Output = Format.table,
) -> None:
    """Start a run that makes bad files good from sites that have them right. What was bad is kept as evidence."""
    options = [f"site={site}"] if site else []
    start_run("heal", reason, service, wait=wait, option=options, timeout_s=timeout_s, queue=queue, output=output)


@app.command("lift")
def lift(
    service: Target,
    site: Annotated[str, typer.Argument(metavar="SITE", help="Name of the site.")],
    reason: Reason,
    output: Output = Format.table,
) -> None:
    """End the quarantine of a site, and close the incident: it is read from and written to again.

    A heal that finds the site clean ends the quarantine by itself, but only a person closes the incident.
    """
    from recoverd.quarantine import lift as lift_quarantine

    inventory, journal = the_inventory(), the_journal()
    inventory.backup_of(service)
    person = permitted(inventory)
    lift_quarantine(journal, service, site, who=person.name, reason=reason)
    emit({"site": site, "lifted": True}, output, lambda: write(f"{site} is read from and written to again"))


def _not_whole(found: Survey) -> list[str]:
    """Sets that are not whole on a site; not those that its retention has let go."""
    from recoverd.backup.compare import Health
    from recoverd.backup.retention import wanted

    backup, names = the_inventory().backup_of(found.service), {one.set for one in found.manifests}
    now, words = datetime.now(timezone.utc), []
    for site, view in zip(backup.sites, found.sites, strict=True):
        kept = wanted(names, site.retention or backup.retention, now)
        for one in view.sets:
            if not one.health.whole and (one.health is not Health.ABSENT or one.set in kept):
                words.append(one.summary)
    return words


def _survey(service: str, *, read: bool) -> Survey:
    from recoverd.execution import rehearsal
    from tasks.sets import survey

    inventory = the_inventory()
    inventory.backup_of(service)
    with rehearsal("sites", service, inventory):
        return survey(service, read=read)


def _changed_since(journal: Journal, service: str, began: datetime) -> str:
    """A run that may have changed the sites while they were read: what looks like damage may be a set that comes or goes."""
    files = the_inventory().files_of(service)
    for row in journal.list_runs(target=files.name if files else service):
        working = row.procedure in {"backup", "heal"} and row.started_at is not None and row.state != "waiting"
        if working and (row.ended_at is None or row.ended_at > began):
            return row.id
    return ""


def _say(judged: Judgement) -> None:
    for one in judged.verdicts:
        note(one.summary)
    for name in judged.away:
        note(f"{name} did not answer: what it holds is not known")
    for left in judged.remains:
        if not left.whole_on:
            note(left.summary)
    for name in judged.unsigned:
        note(f"{name}: no site gives a manifest of it that is believed")
    for words in judged.left:
        note(words)


def _wrong_files(found: Survey) -> list[dict[str, Any]]:
    """A row for each file that some site does not have as it was signed, with what each site has."""
    by_site = {site.site: {one.set: one for one in site.sets} for site in found.sites if site.reached}
    for one in found.wal.sites if found.wal else ():
        by_site[one.site][one.set] = one
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for name, held in by_site.items():
        for one in held.values():
            for finding in one.findings:
                row = rows.setdefault((one.set, finding.key), {"set": one.set, "file": finding.key, "evidence": []})
                row[name] = finding.health.value
                row["evidence"].append(f"{name}: {finding.evidence}")
    for (group, _), row in rows.items():
        for site in found.sites:
            its = by_site.get(site.site, {}).get(group)
            health = "unreachable" if not site.reached else "absent" if its is None else its.health.value
            row.setdefault(site.site, health if health in {"absent", "unreachable"} else "good")
    return [rows[key] for key in sorted(rows)]


def _rows(found: Survey) -> list[dict[str, Any]]:
    known = {one.set: one for one in found.manifests}
    names = sorted({one.set for site in found.sites for one in site.sets}, reverse=True)
    return [
        {
            "set": name,
            **{site.site: found.health(site.site, name).value for site in found.sites},
            "size": f"{known[name].size / 1e6:.1f} MB" if name in known else None,
            "source": known[name].source if name in known else None,
        }
        for name in names
    ] or [{"set": None, **{site.site: "reached" if site.reached else "unreachable" for site in found.sites}}]


def _data(found: Survey) -> dict[str, Any]:
    data = found.model_dump(mode="json", exclude={"documents"})
    for one in data["manifests"]:
        one["parts"] = len(one["parts"])
    return data
