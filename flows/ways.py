"""Ways for hosts to sites, for the time of a run. A site that goes away meanwhile costs the run that site, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from recoverd.errors import TryAgain
from recoverd.world import world
from tasks.passages import close_passage, forget_key, needs_passage, open_passage, renew_passage
from tasks.together import together


def _at_once() -> int:
    """In a plan one after the other: it is read."""
    return 1 if world().dry_run else 8


def open_ways(service: str, host: str, sites: Iterable[str]) -> tuple[str, ...]:
    """Let a host move files to and from sites; those that it reaches, in the same order.

    Raises:
        TryAgain: It reaches none.
    """
    missed = together({site: partial(_open_way, service, host, site) for site in sites}, at_most=_at_once())
    reached = tuple(site for site, problem in missed.items() if problem is None)
    for problem in missed.values():
        if problem is not None and not reached:
            raise problem
    return reached


def _open_way(service: str, host: str, site: str) -> TryAgain | None:
    """Why there is none."""
    try:
        if needs_passage(service, host, site):
            open_passage(service, host, site)
            if not world().dry_run:
                renew_passage(service, host, site)  # where an earlier execution opened it
    except TryAgain as error:
        world().say(f"{host} has no way to {site}, which is passed over: {error.message}")
        return error
    return None


def close_ways(service: str, host: str, sites: Iterable[str]) -> None:
    """Take the ways away, and the key. Where the site is gone its half stays for a day at most, and no key fits it."""
    together({site: partial(_close_way, service, host, site) for site in sites}, at_most=_at_once())
    if world().dry_run:
        return
    try:
        forget_key(service, host)
    except TryAgain as error:
        world().say(f"the key of {host} stays there, and opens nothing after a day: {error.message}")


def _close_way(service: str, host: str, site: str) -> None:
    if not needs_passage(service, host, site):
        return
    try:
        close_passage(service, host, site)
    except TryAgain as error:
        world().say(f"{site} still lets a key in that is nowhere any more, for a day at most: {error.message}")
