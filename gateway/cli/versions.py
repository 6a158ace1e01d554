"""`recoverd version`."""

from __future__ import annotations

import typer

from gateway.cli.options import Output
from gateway.cli.output import Format, emit, write
from recoverd import __version__


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("version")(version)


def version(output: Output = Format.table) -> None:
    """Print the version."""
    import platform

    data = {"recoverd": __version__, "python": platform.python_version()}
    emit(data, output, lambda: write(f"recoverd {__version__}"))
