"""Secrets are references: never a value in a file, an error, a repr or a dump."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from inventory_kit import SERVICES, problems, write
from pydantic import ValidationError

from recoverd.errors import Invalid, Unreachable
from recoverd.inventory import SecretRef, findings, load

VALUE = "correct-horse-battery"


def test_a_secret_in_the_environment_is_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", VALUE)
    assert SecretRef(env="SHOP_PASSWORD").resolve() == VALUE
    monkeypatch.delenv("SHOP_PASSWORD")
    with pytest.raises(Invalid, match=r"SHOP_PASSWORD.*is not set") as caught:
        SecretRef(env="SHOP_PASSWORD").resolve()
    assert "systemd" in caught.value.hint


def test_a_secret_in_a_file_loses_one_newline_only(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(f" {VALUE} \n\n".encode())
    assert SecretRef(file=path).resolve() == f" {VALUE} \n"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "cannot be read: No such file"),
        (b"", "is empty"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"x" * 70000, "larger than"),
    ],
)
def test_a_bad_secret_file_is_an_error_with_a_hint(tmp_path: Path, content: bytes | None, what: str) -> None:
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    with pytest.raises(Invalid, match=what) as caught:
        SecretRef(file=tmp_path / "secret").resolve()
    assert caught.value.hint


def test_a_secret_file_is_found_through_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop").write_text(VALUE)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert SecretRef.model_validate({"file": "${CREDENTIALS_DIRECTORY}/shop"}).resolve() == VALUE


@pytest.mark.parametrize("given", [{}, {"env": "A", "file": "b"}, {"env": None}, {"value": VALUE}, VALUE, 12, [VALUE]])
def test_a_secret_is_exactly_one_reference_and_never_a_value(given: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        SecretRef.model_validate(given)
    assert VALUE not in str(caught.value)


def test_a_value_in_place_of_a_reference_is_not_repeated_in_the_problem(tmp_path: Path) -> None:
    found = problems(tmp_path, services=SERVICES.replace("bin_dir: /bin", f"bin_dir: /bin\n      password: {VALUE}"))
    assert found == [
        "services.yaml:11: postgresql.password of service shop: a secret is written as {env: NAME}, {file: PATH} or "
        "{prefect_block: NAME}, never as its value"
    ]


def test_a_value_as_a_fence_option_is_a_text_but_a_broken_reference_is_a_problem(tmp_path: Path) -> None:
    fencing = "devices:\n  bmc:\n    command: [/bin/true]\n    options:\n      lanplus: yes\n      password: {fil: x}\n"
    found = problems(tmp_path, fencing=fencing)
    assert 'fencing.yaml:6: unknown key "fil" in options.password of fence device bmc; did you mean "file"?' in found


def test_no_repr_and_no_dump_shows_a_resolved_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", VALUE)
    root = write(
        tmp_path, services=SERVICES.replace("bin_dir: /bin", "bin_dir: /bin\n      password: {env: SHOP_PASSWORD}")
    )
    inventory = load(root)
    secret = inventory.service("shop").postgresql.password
    assert secret is not None
    assert secret.resolve() == VALUE
    assert VALUE not in repr(inventory) + str(secret) + inventory.model_dump_json()
    assert str(secret) == "env:SHOP_PASSWORD"


def test_ansible_variables_stay_out_of_repr_and_dump(tmp_path: Path) -> None:
    inventory = load(write(tmp_path, **{"group_vars/all.yml": f"ansible_become_password: {VALUE}\n"}))
    assert inventory.host("db-1").variables["ansible_become_password"] == VALUE
    assert VALUE not in repr(inventory) + inventory.model_dump_json()


def test_a_secret_file_that_others_can_read_is_a_finding(tmp_path: Path) -> None:
    services = SERVICES.replace("bin_dir: /bin", "bin_dir: /bin\n      password: {file: pw}")
    inventory = load(write(tmp_path, services=services))
    path = tmp_path / "pw"
    path.write_text(VALUE)
    path.chmod(0o600)
    assert not any("secret" in finding.subject for finding in findings(inventory))
    path.chmod(0o640)
    (found,) = [finding for finding in findings(inventory) if "secret" in finding.subject]
    assert "mode 0640" in found.what
    assert found.hint.startswith("chmod 600")


def test_the_inventory_does_not_load_prefect() -> None:
    code = "import sys, recoverd.inventory; sys.exit('prefect' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=30, env=os.environ).returncode == 0


class Block:
    """Stands for prefect.blocks.system.Secret: the real one needs a server."""

    error: Exception | None = None

    @classmethod
    def load(cls, name: str, _sync: bool) -> Block:
        assert _sync
        if cls.error:
            raise cls.error
        return cls()

    def get(self) -> str:
        return VALUE


def test_a_prefect_block_is_resolved_and_its_failures_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prefect", type(sys)("prefect"))
    monkeypatch.setitem(sys.modules, "prefect.blocks", type(sys)("prefect.blocks"))
    module = type(sys)("prefect.blocks.system")
    module.Secret = Block  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "prefect.blocks.system", module)
    assert SecretRef(prefect_block="shop").resolve() == VALUE
    monkeypatch.setattr(Block, "error", ValueError("Unable to find block document named shop"))
    with pytest.raises(Invalid, match="no Secret block named shop"):
        SecretRef(prefect_block="shop").resolve()
    monkeypatch.setattr(Block, "error", OSError(VALUE))
    with pytest.raises(Unreachable, match="OSError") as caught:
        SecretRef(prefect_block="shop").resolve()
    assert VALUE not in str(caught.value)
