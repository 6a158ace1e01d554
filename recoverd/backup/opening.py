"""Whether an age identity opens what is encrypted to some recipients. Tried, not compared: so it holds for every kind of key."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pyrage
from pyrage import ssh, x25519

from recoverd.errors import Invalid

_PROBE = b"recoverd"


def opens(identity: str, recipients: Sequence[str]) -> bool:
    """Whether the holder of the identity can read a backup.

    Args:
        identity: The file of `age-keygen`, or an SSH private key.
        recipients: Public keys, `age1…` or `ssh-ed25519 …`.

    Raises:
        Invalid: The identity or a recipient is none.
    """
    try:
        known = _identities(identity)
        locked = pyrage.encrypt(_PROBE, [_recipient(one) for one in recipients])
    except (pyrage.RecipientError, pyrage.IdentityError, ValueError) as error:
        raise Invalid(
            f"an age key cannot be read: {error}", "age-keygen makes one; age-keygen -y shows its public half"
        ) from None
    try:
        return bool(pyrage.decrypt(locked, known) == _PROBE)
    except pyrage.DecryptError:
        return False


def _identities(text: str) -> list[x25519.Identity | ssh.Identity]:
    if "PRIVATE KEY" in text:
        return [ssh.Identity.from_buffer(text.encode())]
    lines = [line.strip() for line in io.StringIO(text) if line.strip() and not line.startswith("#")]
    if not lines:
        raise ValueError("there is no key in it")
    return [x25519.Identity.from_str(line) for line in lines]


def _recipient(text: str) -> x25519.Recipient | ssh.Recipient:
    return ssh.Recipient.from_str(text) if text.startswith("ssh-") else x25519.Recipient.from_str(text)
