"""`recoverd serve` and `recoverd watch`: what runs all the time."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli.options import complete_service, the_inventory, the_settings
from gateway.cli.output import note

Services = Annotated[
    list[str] | None,
    typer.Argument(metavar="[SERVICE]...", help="Names of services.", autocompletion=complete_service),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("serve")(serve)
    app.command("watch")(watch)


def serve(
    port: Annotated[int | None, typer.Option("--port", min=1, max=65535, help="Port of the gateway.")] = None,
    listen: Annotated[str | None, typer.Option("--listen", metavar="ADDRESS", help="Address of the gateway.")] = None,
    sentinel: Annotated[bool, typer.Option(help="Watch the services whose policy says so.")] = True,
    wal: Annotated[bool, typer.Option(help="Keep WAL coming to the sites of the services' backups.")] = True,
) -> None:
    """Take alerts, start runs, and execute them, until SIGTERM or Ctrl-C. Runs under way live on."""
    import logging
    import sys

    from gateway import containments, drills, wards
    from gateway.keeper import keepers
    from gateway.sentinel import makers
    from gateway.serve import serve as serve_all

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s", stream=sys.stderr)
    for chatty in ("httpx", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    config = the_settings()
    flags = {"listen_host": listen, "listen_port": port}
    given = {name: value for name, value in flags.items() if value is not None}
    config = config.model_copy(update={**given, "inventory": config.inventory.absolute()})
    inventory = the_inventory()
    for warning in inventory.warnings:
        note(f"{warning}")
    beside = [
        *(makers(inventory) if sentinel else ()),
        *(keepers(inventory) if wal else ()),
        *drills.makers(inventory),
        containments.made,
        wards.made,
    ]
    serve_all(config, inventory, beside)


def watch(
    services: Services = None,
    once: Annotated[bool, typer.Option("--once", help="Look once, say what is seen, and end.")] = False,
) -> None:
    """Watch services in the foreground: every second, from every side. Raises alerts as the policy says."""
    from gateway.watching import watch_services

    inventory = the_inventory()
    names = [inventory.service(name).name for name in services or list(inventory.services)]
    watch_services(the_settings(), inventory, names, once=once, say=note)
