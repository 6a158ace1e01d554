"""Who is asking: the operating-system user, or the person whose token is in a file.

The user is, in this order:

1. the user that the kernel remembers from the login (`/proc/self/loginuid`), where it is set and is not root: it cannot
   be changed afterwards, so neither `sudo` nor `su` makes a second person out of one;
2. the user of the process, when that is not root;
3. for root, the user that sudo names in SUDO_UID, else root. Root could set that variable to anyone, but root could
   also write to the journal's file: the four eyes protect against mistakes of people, not against root.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from recoverd.errors import Invalid, NotAllowed
from recoverd.inventory import Inventory, Person
from recoverd.settings import settings

UNSET_LOGIN = 2**32 - 1
MAX_TOKEN_BYTES = 4096
LOGIN_FILE = Path("/proc/self/loginuid")


@dataclass(frozen=True)
class Actor:
    """A person as gates and the journal know them.

    Attributes:
        name: Name in the inventory's people; else the operating-system user.
        roles: Their roles.
        rights: What those roles may do: run, approve, publish, close.
        known: Whether the inventory knows them.
        by: What told who they are.
    """

    name: str
    roles: frozenset[str] = frozenset()
    rights: frozenset[str] = frozenset()
    known: bool = False
    by: Literal["user", "token"] = "user"


def current(inventory: Inventory) -> Actor:
    """The person who runs this process: by the token in `settings.user_token_file`, where one is set, else by user.

    Raises:
        Invalid: The token's file cannot be read, or others can read it.
        NotAllowed: Nobody has this token.
    """
    token_file = settings().user_token_file
    return by_token(inventory, read_token(token_file)) if token_file else by_user(inventory, login_user())


def by_user(inventory: Inventory, user: str) -> Actor:
    """The person with this operating-system user; a user that the inventory does not know has no roles."""
    for person in inventory.people.values():
        if person.os_user == user:
            return actor(inventory, person, "user")
    return Actor(f"user:{user}" if user in inventory.people else user)


def by_token(inventory: Inventory, token: str) -> Actor:
    """The person with this token. Every person is compared, in constant time, so that the time taken tells nothing."""
    digest = hashlib.sha256(token.encode()).hexdigest()
    people = list(inventory.people.values())
    same = [hmac.compare_digest(digest, person.token_sha256 or "-") for person in people]
    found = [person for person, matches in zip(people, same, strict=True) if matches]
    if len(found) != 1:
        raise NotAllowed("no person has this token", "put the SHA-256 of the token under the person in people.yaml")
    return actor(inventory, found[0], "token")


def actor(inventory: Inventory, person: Person, by: Literal["user", "token"]) -> Actor:
    """A person of the inventory with their roles and rights."""
    named = (role.name for role in inventory.roles.values() if person.name in role.people)
    roles = frozenset(person.roles) | frozenset(named)
    rights = frozenset(right for name in roles if name in inventory.roles for right in inventory.roles[name].may)
    return Actor(person.name, roles, rights, known=True, by=by)


def login_user(environment: Mapping[str, str] | None = None, login_file: Path = LOGIN_FILE) -> str:
    """The operating-system user behind this process; see the top of this module."""
    login, own = _login_uid(login_file), os.getuid()
    if login not in (None, 0):
        return _user(login)
    if own != 0:
        return _user(own)
    given = (os.environ if environment is None else environment).get("SUDO_UID", "")
    return _user(int(given)) if given.isdigit() else _user(0)


def read_token(path: Path) -> str:
    """The token in a file that only its owner can read."""
    try:
        with path.open("rb") as file:
            mode, content = os.fstat(file.fileno()).st_mode, file.read(MAX_TOKEN_BYTES + 1)
    except OSError as error:
        raise Invalid(f"the token file {path} cannot be read: {error.strerror}", "check its path and owner") from error
    if mode & 0o077:
        raise Invalid(f"the token file {path} can be read by others than its owner", f"chmod 600 {path}")
    token = content.decode("utf-8", "replace").strip()
    if not token or len(content) > MAX_TOKEN_BYTES:
        raise Invalid(f"the token file {path} holds no token", "write the token alone into it")
    return token


def _login_uid(path: Path) -> int | None:
    try:
        uid = int(path.read_text())
    except (OSError, ValueError):
        return None  # a kernel without audit keeps none
    return None if uid == UNSET_LOGIN else uid


def _user(uid: int | None) -> str:
    try:
        return pwd.getpwuid(uid if uid is not None else 0).pw_name
    except KeyError:
        return f"uid:{uid}"
