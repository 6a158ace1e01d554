"""What others lose when a host goes off the network, before it does: its users, and recoverd itself."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from functools import partial
from ipaddress import ip_address
from urllib.parse import urlsplit

from recoverd.errors import RecoverdError
from recoverd.settings import settings
from recoverd.step import observe
from recoverd.words import counted
from recoverd.world import world
from tasks.entry_points import addresses_of, drains_of, holds, last_in
from tasks.together import together
from tasks.views import Facts

AT_MOST = 64


class Need(Facts):
    """Why one host is needed where it is.

    Attributes:
        never: Reasons that nobody overrules, a sentence each.
        users: Reasons that a person with the right may overrule.
        unknown: What could not be asked.
    """

    host: str
    never: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


class Needs(Facts):
    """The same of several hosts."""

    hosts: tuple[Need, ...]

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        words = [text for one in self.hosts for text in (*one.never, *one.users, *one.unknown)]
        return "; ".join(words) or f"nobody needs {counted(len(self.hosts), 'host')} where they are"


@observe("look who needs the hosts where they are", time_limit_s=120.0)
def look_who_needs(hosts: Sequence[str]) -> Needs:
    """Ask all at once: entry points that a host is the last to serve, and whether recoverd itself stands on it."""
    return Needs(hosts=tuple(together({host: partial(_look, host) for host in hosts}, at_most=AT_MOST).values()))


def _look(host: str) -> Need:
    never, users, unknown = list(_controller(host)), [], []
    for service, entry in addresses_of(host):
        try:
            if holds(host, service, entry):
                users.append(f"{host} is the one that holds {entry} of {service}")
        except RecoverdError as error:
            unknown.append(f"{host} cannot be asked for {entry} of {service}: {error.message}")
    for drain in drains_of(host):
        for balancer in drain.hosts:
            try:
                alone = last_in(host, balancer, drain.name)
            except RecoverdError as error:
                unknown.append(f"{balancer} cannot be asked for {host}: {error.message}")
                continue
            users += [f"{host} is the last server of {backend} on {balancer}" for backend in alone]
    return Need(host=host, never=tuple(never), users=tuple(users), unknown=tuple(unknown))


def _controller(host: str) -> list[str]:
    """Why recoverd could not go on without this host."""
    wanted = world().inventory.host(host)
    if wanted.local or any(map(_is_mine, addresses_at(wanted.address))):
        return [f"{host} is the machine that recoverd itself runs on"]
    journal = urlsplit(settings().journal_address)
    if journal.hostname and addresses_at(journal.hostname) & addresses_at(wanted.address):
        return [f"{host} has the journal of recoverd"]
    return []


def addresses_at(name: str) -> frozenset[str]:
    """The addresses that a name, or an address, stands for; none where it cannot be resolved now."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_DGRAM)
    except OSError:
        return frozenset()
    return frozenset(str(place[0]).partition("%")[0] for *_, place in found)


def _is_mine(address: str) -> bool:
    """Whether an address is one of this machine's: the kernel lets nobody else bind it."""
    family = socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True
