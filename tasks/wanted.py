"""What of a set of files a run is about: the paths that a person named."""

from __future__ import annotations

from recoverd.world import world


def wanted_paths() -> tuple[str, ...]:
    """The paths that this run is about, of a restore of files; empty for all."""
    given = world().run.options.get("path") or ()
    return (given,) if isinstance(given, str) else tuple(given)
