"""What went wrong on the way to a shell on a host, and what the operator does about it."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import paramiko

from recoverd.errors import Look, NotAllowed, RecoverdError, Tampered, Unreachable

if TYPE_CHECKING:
    from recoverd.inventory import Host

_MOST_CHARACTERS = 200


def explain(host: Host, error: BaseException) -> RecoverdError:
    """What a paramiko or socket error means to the operator."""
    where = place(host)
    if isinstance(error, paramiko.BadHostKeyException):
        return Tampered(
            f"the SSH host key of {where} has changed",
            f"find out why before trusting it; then mend {host.known_hosts or '~/.ssh/known_hosts'}",
        )
    if isinstance(error, paramiko.AuthenticationException | paramiko.PasswordRequiredException):
        return NotAllowed(
            f"{where} refuses the SSH login",
            f"check ansible_user and the key file {host.key_file or '(agent)'} in the inventory",
        )
    if isinstance(error, paramiko.SSHException) and "not found in known_hosts" in str(error):
        return Tampered(
            f"the SSH host key of {where} is not known",
            f"compare its fingerprint on the console, then add it to {host.known_hosts or '~/.ssh/known_hosts'}",
        )
    if isinstance(error, FileNotFoundError):
        return Look(f"{error.filename} for {where} does not exist", "name an existing file in the inventory")
    if isinstance(error, TimeoutError | socket.timeout):
        return Unreachable(f"{where} does not answer", "check power, network and sshd of that host")
    return Unreachable(f"{where} cannot be reached by SSH: {error}", "check power, network and sshd of that host")


def no_shell(host: Host, said: str) -> NotAllowed:
    """The login worked, but sudo or the login shell ended before it ran anything; `said` is all that it printed."""
    words = " ".join(said.split())[-_MOST_CHARACTERS:] or "it ended without a word"
    if host.become:
        return NotAllowed(
            f"{place(host)} gets no shell of root by sudo: {words}",
            f"let {host.user} run /bin/sh without a password there, in /etc/sudoers.d: "
            f"`{host.user} ALL=(root) NOPASSWD: /bin/sh`; try it with `sudo -n /bin/sh -c id`",
        )
    return NotAllowed(
        f"{place(host)} gets no shell: {words}", f"give {host.user} a login shell there that runs any command"
    )


def place(host: Host) -> str:
    """Account, address and name, for a sentence."""
    return f"{host.user}@{host.address} port {host.port} ({host.name})"
