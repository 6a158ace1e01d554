"""Ways for hosts to sites, for the time of a run. A site that goes away meanwhile costs the run that site, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable

from recoverd.errors import TryAgain
from recoverd.world import world
from tasks.passages import close_passage, forget_key, needs_passage, open_passage, renew_passage


def open_ways(service: str, host: str, sites: Iterable[str]) -> tuple[str, ...]:
    """Let a host move files to and from sites; those that it reaches, in the same order.

    Raises:
        TryAgain: It reaches none.
    """
    reached, last = [], None
    for site in sites:
        try:
            if needs_passage(service, host, site):
                open_passage(service, host, site)
                if not world().dry_run:
                    renew_passage(service, host, site)  # where an earlier execution opened it
        except TryAgain as error:
            last = error
            world().say(f"{host} has no way to {site}, which is passed over: {error.message}")
        else:
            reached.append(site)
    if not reached and last is not None:
        raise last
    return tuple(reached)


def close_ways(service: str, host: str, sites: Iterable[str]) -> None:
    """Take the ways away, and the key. Where the site is gone its half stays for a day at most, and no key fits it."""
    for site in sites:
        if needs_passage(service, host, site):
            try:
                close_passage(service, host, site)
            except TryAgain as error:
                world().say(f"{site} still lets a key in that is nowhere any more, for a day at most: {error.message}")
    if world().dry_run:
        return
    try:
        forget_key(service, host)
    except TryAgain as error:
        world().say(f"the key of {host} stays there, and opens nothing after a day: {error.message}")
