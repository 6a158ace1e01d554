"""A person is one person, whatever they type before the command."""

from __future__ import annotations

import hashlib
import os
import pwd
from pathlib import Path
from types import SimpleNamespace

import pytest

from recoverd import person
from recoverd.errors import Invalid, NotAllowed
from recoverd.inventory import Person, Role

UNSET = str(2**32 - 1)


def sha(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


@pytest.fixture
def inventory() -> SimpleNamespace:
    people = {
        "alice": Person(name="alice", os_user="al", token_sha256=sha("alice-token"), roles=("dba",)),
        "bob": Person(name="bob", os_user="bob"),
    }
    roles = {
        "dba": Role(name="dba", may=("run",)),
        "leader": Role(name="leader", people=("bob", "alice"), may=("approve", "run")),
    }
    return SimpleNamespace(people=people, roles=roles)


def test_a_known_user_has_the_roles_that_either_side_names(inventory) -> None:
    found = person.by_user(inventory, "al")
    assert (found.name, found.roles, found.rights, found.known) == (
        "alice",
        {"dba", "leader"},
        {"run", "approve"},
        True,
    )
    assert person.by_user(inventory, "bob").roles == {"leader"}


def test_an_unknown_user_has_no_rights_and_is_not_taken_for_a_person_of_that_name(inventory) -> None:
    stranger = person.by_user(inventory, "carol")
    assert (stranger.name, stranger.rights, stranger.known) == ("carol", frozenset(), False)
    assert person.by_user(inventory, "alice").name == "user:alice"


def test_a_token_names_its_person(inventory) -> None:
    found = person.by_token(inventory, "alice-token")
    assert (found.name, found.by, found.known) == ("alice", "token", True)
    for wrong in ("", "-", "bob", sha("alice-token")):
        with pytest.raises(NotAllowed):
            person.by_token(inventory, wrong)


def test_a_token_file_is_read_only_when_it_is_its_owners_alone(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("alice-token\n")
    file.chmod(0o644)
    with pytest.raises(Invalid, match="can be read by others"):
        person.read_token(file)
    file.chmod(0o600)
    assert person.read_token(file) == "alice-token"
    file.write_text("\n")
    with pytest.raises(Invalid, match="holds no token"):
        person.read_token(file)
    with pytest.raises(Invalid, match="cannot be read"):
        person.read_token(tmp_path / "none")


@pytest.mark.parametrize(
    ("login", "own", "sudo", "expected"),
    [
        (UNSET, 1000, None, 1000),
        (UNSET, 1000, "1001", 1000),  # anybody can set a variable
        (UNSET, 0, None, 0),
        (UNSET, 0, "1000", 1000),
        (UNSET, 0, "root; id", 0),
        ("0", 0, "1000", 1000),
        ("0", 1000, None, 1000),
        ("1000", 0, "1001", 1000),
        ("1000", 1001, None, 1000),  # sudo -u another
        (None, 1000, None, 1000),
    ],
)
def test_the_person_is_the_one_who_logged_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, login: str | None, own: int, sudo: str | None, expected: int
) -> None:
    file = tmp_path / "loginuid"
    if login is not None:
        file.write_text(login)
    monkeypatch.setattr(os, "getuid", lambda: own)
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: SimpleNamespace(pw_name=f"user{uid}"))
    assert person.login_user({} if sudo is None else {"SUDO_UID": sudo}, file) == f"user{expected}"


def test_a_user_without_a_name_is_named_by_number(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 987654)
    assert person.login_user({}, tmp_path / "none") == "uid:987654"
