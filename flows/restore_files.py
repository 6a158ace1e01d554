"""Restore of files: from whichever sites still hold good bytes, beside what is there or in its place.

    observe the sites → choose set and sites → room → ways to the sites → fetch, unpack, hold each file against the set's list
    → (in place: look at every place → consent → keep what is there → rename each file over it)

One file alone, or one directory, is brought back likewise: `path`.
"""

from __future__ import annotations

from collections.abc import Iterable

from flows.copying import manifest_of
from flows.fence import note_summary
from flows.points import Point, choose_point
from flows.ways import close_ways, open_ways
from recoverd.backup.manifest import Manifest
from recoverd.backup.target import Kind, parse_target, set_in
from recoverd.errors import Invalid, Refused, Unsafe
from recoverd.gate import gate
from recoverd.world import world
from tasks.listed import find_wanted
from tasks.placing import Outlook, keep_dir, observe_places, put_in_places
from tasks.restoring import (
    begin_unpacking,
    data_dir,
    fetch_parts,
    finish_unpacking,
    observe_room,
    replaces,
)
from tasks.sets import survey_sites
from tasks.wanted import wanted_paths

_NOT_FOR_FILES = ("table", "as", "timeline")


def restore_files(name: str) -> str:
    """The procedure itself; also what a plan walks through."""
    here = world()
    _check_options()
    archive, host = _whose_and_where(name)
    point, manifest = _choose(archive)
    if wanted_paths():
        found = find_wanted(archive, host, point.set, manifest, point.sites)
        if found.lacking:
            raise Refused(found.summary, f"recoverd sites files {archive} --set {point.set} shows what it has")
    room = observe_room(archive, host, manifest)
    if not room.enough:
        raise Refused(f"there is no room: {room.summary}", "free space there, or name another host: --host …")
    _bring(archive, host, manifest, point)
    what = ", ".join(wanted_paths()) or "all files"
    if not replaces():
        summary = f"{what} of {point.set} stand on {host} in {data_dir(archive, host)}, each as its list says"
    else:
        summary = f"{what} of {point.set}: {_replace(archive, host, point)}"
    if here.dry_run:
        return f"would restore {what} of {point.set} on {host}"
    note_summary(summary)
    return summary


def _check_options() -> None:
    options = world().run.options
    for name in _NOT_FOR_FILES:
        if options.get(name):
            raise Invalid(f"a restore of files has no option {name}", "it has: to, set, site, into, path, host, of")
    for path in wanted_paths():
        if not str(path).startswith("/"):
            raise Invalid(f"the path {path!r} is not absolute", "write it as it is on the host: --path /etc/hosts")


def _whose_and_where(name: str) -> tuple[str, str]:
    """The archive, and the host that it is restored on: as asked for, else the one that the files are of. Raises Invalid."""
    here = world()
    files, options = here.inventory.files[name], here.run.options
    mine = here.inventory.hosts_of(files)
    where, of = str(options.get("host") or ""), str(options.get("of") or "")
    if of and of not in mine:
        raise Invalid(f"{name} is not about the host {of}", f"its hosts are {', '.join(mine)}")
    if not of and where not in mine and len(mine) != 1:
        raise Invalid(f"nobody says whose files: {name} has {', '.join(mine)}", "name one: --host …, or --option of=…")
    of = of or (where if where in mine else mine[0])
    return files.archive(of), here.inventory.host(where or of).name


def _choose(archive: str) -> tuple[Point, Manifest]:
    options, seen = world().run.options, survey_sites(archive)
    named = tuple(name for name in str(options.get("site") or "").split(",") if name)
    wanted = wanted_set(seen.manifests, str(options.get("to") or ""), str(options.get("set") or ""))
    point = choose_point(archive, seen, wanted, named)
    if point.refusal:
        raise Unsafe(
            f"the files of {archive} are not restored: {point.refusal}",
            f"see what each site holds: `recoverd sites {archive}`",
        )
    return point, manifest_of(seen, point)


def wanted_set(manifests: Iterable[Manifest], to: str, named: str) -> str:
    """The set that is asked for: by its id, or the newest that was finished at a moment; empty for the newest of all.

    Raises:
        Invalid: The target is not one for files.
        Unsafe: There is no set so old.
    """
    if set_in(to) or named:
        return set_in(to) or named
    target = parse_target(to) if to else None
    if target is None or target.kind is Kind.LATEST:
        return ""
    if target.kind is not Kind.TIME:
        raise Invalid(f"files are not restored to {to}", "give a time with its zone, set=ID, or latest")
    known = sorted(manifests, key=lambda one: one.set)
    before = [one.set for one in known if one.ended_at <= target.at]
    if not before:
        first = f"the first is {known[0].set}" if known else "there is none at all"
        raise Unsafe(f"no set was finished at {target.value}: {first}", "see `recoverd sites`")
    return before[-1]


def _bring(archive: str, host: str, manifest: Manifest, point: Point) -> None:
    ways = open_ways(archive, host, point.sites)
    begin_unpacking(archive, host, len(manifest.stream))
    fetch_parts(archive, host, manifest, ways)
    finish_unpacking(archive, host, len(manifest.stream))
    if not world().dry_run:
        close_ways(archive, host, ways)


def _replace(archive: str, host: str, point: Point) -> str:
    here = world()
    outlook = Outlook(host=host) if here.dry_run else observe_places(archive, host)
    if outlook.refused:
        raise Unsafe(
            f"nothing is replaced on {host}: {outlook.refused}",
            f"all of it stands in {data_dir(archive, host)}: copy by hand what is needed",
        )
    what = "each place is looked at first" if here.dry_run else outlook.summary
    if here.run.mode == "ask" or here.inventory.backup_of(archive).restore.consent == "ask":
        gate(
            "replace",
            plan_of(archive, host, point, outlook),
            f"replace files with those of {point.set}: {what}",
        )
    put_in_places(archive, host)
    return f"{outlook.summary}; what was there is kept in {keep_dir(archive)}"


def plan_of(archive: str, host: str, point: Point, outlook: Outlook) -> dict[str, object]:
    """What an approval binds to: what would be done, without what changes by itself."""
    return {
        "procedure": "restore", "files": archive, "set": point.set, "host": host, "paths": list(wanted_paths()) or "all",
        "replaced": outlook.replaced, "new": outlook.new,
    }  # fmt: skip
