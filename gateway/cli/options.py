"""What several commands share: options, and the things that options lead to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.output import Format

if TYPE_CHECKING:
    from recoverd.inventory import Inventory
    from recoverd.journal import Journal
    from recoverd.settings import Settings

Output = Annotated[
    Format,
    typer.Option("--output", "-o", envvar="RECOVERD_OUTPUT", help="table for people; json or yaml for programs."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask. Needed where there is no terminal.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Most rows to print, the newest first.")]


def configure(inventory: Path | None, home: Path | None) -> None:
    """Put the global flags over environment and file, for this process and all that it starts."""
    for name, value in (("RECOVERD_INVENTORY", inventory), ("RECOVERD_HOME", home)):
        if value is not None:
            os.environ[name] = str(value.absolute())


def the_settings() -> Settings:
    """The settings, read anew: flags have just changed them.

    Raises:
        Invalid: One of them has a value that it cannot have.
    """
    from pydantic import ValidationError

    from recoverd.errors import Invalid
    from recoverd.settings import config_file, settings

    settings.cache_clear()
    try:
        return settings()
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in wrong["loc"])
        raise Invalid(
            f"the setting {name} is wrong: {wrong['msg'].lower()}",
            f"correct RECOVERD_{name.upper()} in the environment, or {name} in {config_file()}",
        ) from None


def the_inventory() -> Inventory:
    """The inventory that the settings name. Raises InventoryError."""
    from recoverd.inventory import load

    return load(the_settings().inventory)


def the_journal() -> Journal:
    """The journal that the settings name. Raises Unreachable."""
    from recoverd.journal import Journal

    return Journal.open(the_settings().journal_address)


def parsed_options(given: list[str]) -> dict[str, Any]:
    """`name=value` pairs, values read as JSON where they are (true, 5, ["a"]), else as text.

    Raises:
        Invalid: One is not of that form, or is named twice.
    """
    import json

    from recoverd.errors import Invalid

    found: dict[str, Any] = {}
    for pair in given:
        name, equals, text = pair.partition("=")
        key = name.strip().replace("-", "_")
        if not equals or not key.isidentifier():
            raise Invalid(f"the option {pair!r} is not of the form name=value", "for example --option to=db-2")
        if key in found:
            raise Invalid(f"the option {key} is given twice", "give it once")
        try:
            found[key] = json.loads(text)
        except ValueError:
            found[key] = text
    return found


def complete_service(incomplete: str) -> list[str]:
    """Names of services, backups of files, hosts and groups, for the shell.

    A completion never fails: without an inventory it offers none.
    """
    from recoverd.errors import RecoverdError
    from recoverd.inventory.selectors import GROUP

    try:
        inventory = the_inventory()
        groups = [f"{GROUP}{name}" for name in inventory.groups]
        names = [*inventory.services, *inventory.files, *inventory.hosts, *groups]
    except RecoverdError:
        return []
    return [name for name in names if name.startswith(incomplete)]


def complete_procedure(incomplete: str) -> list[str]:
    """Names of procedures, for the shell."""
    from deployments.catalogue import PROCEDURES

    return [name for name in PROCEDURES if name.startswith(incomplete)]


def complete_run(incomplete: str) -> list[tuple[str, str]]:
    """Ids of the newest runs, for the shell, with what they are."""
    from recoverd.errors import RecoverdError

    try:
        rows = the_journal().list_runs(limit=30)
    except RecoverdError:
        return []
    return [(row.id, f"{row.procedure} {row.target}, {row.state}") for row in rows if row.id.startswith(incomplete)]


Procedure = Annotated[
    str, typer.Argument(metavar="PROCEDURE", help="failover, switchover, rejoin.", autocompletion=complete_procedure)
]
Target = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help="Name of the service or of the backup of files; or hosts: names, group:NAME, label:NAME=VALUE, with commas.",
        autocompletion=complete_service,
    ),
]
On = Annotated[
    str | None,
    typer.Option("--on", metavar="HOSTS", help="The target, where it is hosts.", autocompletion=complete_service),
]
MaybeTarget = Annotated[
    str | None,
    typer.Argument(
        metavar="TARGET",
        help="Name of the service or of the backup of files; or hosts: names, group:NAME, label:NAME=VALUE, with commas.",
        autocompletion=complete_service,
    ),
]
Accounts = Annotated[str | None, typer.Option("--accounts", metavar="NAME,…", help="Accounts to lock.")]
Addresses = Annotated[
    str | None, typer.Option("--addresses", metavar="NETWORK,…", help="Addresses and networks to block.")
]
For = Annotated[
    str | None, typer.Option("--for", metavar="TIME", help="For so long, such as 4h; none: until released.")
]
Force = Annotated[
    bool, typer.Option("--force", help="Over the limits of the inventory, for a person with the right `force`.")
]
Given = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="NAME=VALUE", help="An option of the procedure. May be repeated."),
]
To = Annotated[
    str | None,
    typer.Option(
        "--to", metavar="WHERE", help="How far: a time with its zone, lsn:…, xid:…, name:…, latest; or a host."
    ),
]
Sites = Annotated[
    str | None, typer.Option("--site", metavar="NAME,…", help="Backup sites to read from; none: all that answer.")
]
Into = Annotated[str | None, typer.Option("--into", metavar="beside|replace", help="Where restored data goes.")]
SetId = Annotated[
    str | None,
    typer.Option("--set", metavar="ID", help="The backup set; none: the best one. Of fix-record: column = value, …"),
]
OnHost = Annotated[str | None, typer.Option("--host", metavar="HOST", help="The host that it is done on.")]
Table = Annotated[str | None, typer.Option("--table", metavar="SCHEMA.TABLE", help="This one table alone.")]
As = Annotated[str | None, typer.Option("--as", metavar="NAME", help="What a table that is brought back is called.")]

Paths = Annotated[
    list[str] | None,
    typer.Option("--path", metavar="PATH", help="Of files: this file or directory alone. May be repeated."),
]


def with_flags(given: list[str] | None, **flags: str | list[str] | None) -> dict[str, Any]:
    """Options that were given by `--option` and those that have a flag of their own, together.

    Raises:
        Invalid: One is given in both ways, or not in the form of an option.
    """
    from recoverd.errors import Invalid

    options = parsed_options(given or [])
    for name, value in flags.items():
        if not value:
            continue
        if name in options:
            raise Invalid(f"the option {name} is given twice", f"give --{name} alone")
        options[name] = value
    return options


def the_target(target: str | None, on: str | None) -> str:
    """The target of a procedure, however it was given.

    Raises:
        Invalid: In both ways, or in none.
    """
    from recoverd.errors import Invalid

    if (target is None) == (on is None):
        said = "the target is given twice" if target is not None else "nobody says on what"
        raise Invalid(said, "name a service, or hosts: as the argument TARGET, or with --on")
    return target or on or ""
