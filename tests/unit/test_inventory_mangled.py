"""Whatever is in the files: an inventory, or an InventoryError. Never another exception, never the end of the process."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from inventory_kit import HOSTS, SERVICES, write

from recoverd.inventory import Inventory, InventoryError, findings, load

EXAMPLE = Path(__file__).parents[2] / "inventories" / "example"
FILES = ("hosts", "services", "sites", "people", "policies", "fencing", "alerts", "backups")
WORDS = st.sampled_from(
    [
        "[",
        "]",
        "{",
        "}",
        ": ",
        "- ",
        "\n",
        "  ",
        "&a ",
        "*a ",
        "<<: ",
        "!vault ",
        "'",
        '"',
        "|\n",
        "---\n",
        "~",
        "#",
        "\t",
        "\0",
    ]
)
FAST = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(EXAMPLE, tmp_path / "copy")
    return tmp_path / "copy"


def survives(root: Path) -> Inventory | None:
    try:
        inventory = load(root)
    except InventoryError as error:
        refused = error
    else:
        findings(inventory)
        return inventory
    assert refused.problems
    assert refused.hint
    return None


@FAST
@given(
    file=st.sampled_from(FILES), at=st.floats(0, 1), cut=st.integers(0, 30), put=st.one_of(WORDS, st.text(max_size=8))
)
def test_a_mangled_file_is_an_inventory_error_at_most(copy: Path, file: str, at: float, cut: int, put: str) -> None:
    text = (EXAMPLE / f"{file}.yaml").read_text()
    place = int(at * len(text))
    (copy / f"{file}.yaml").write_bytes((text[:place] + put + text[place + cut :]).encode("utf-8", "surrogatepass"))
    survives(copy)
    (copy / f"{file}.yaml").write_text(text)


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["db-1", "shop", "{{ x }}"]),
)
KEYS = st.one_of(
    st.text(max_size=4),
    st.sampled_from(
        ["all", "hosts", "children", "vars", "services", "shop", "members", "host", "kind", "auth", "match", "routes"]
    ),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=12
)


@FAST
@given(file=st.sampled_from(FILES), value=VALUES)
def test_any_content_is_an_inventory_error_at_most(copy: Path, file: str, value: object) -> None:
    text = (EXAMPLE / f"{file}.yaml").read_text()
    # JSON's text of a value is YAML, but for a few of its strings, which is as well here
    (copy / f"{file}.yaml").write_text(repr(value).replace("None", "null"), encoding="utf-8", errors="replace")
    survives(copy)
    (copy / f"{file}.yaml").write_text(text)


@FAST
@given(path=st.data())
def test_any_value_in_any_place_is_an_inventory_error_at_most(tmp_path: Path, path: st.DataObject) -> None:
    lines = SERVICES.splitlines()
    at = path.draw(st.integers(0, len(lines) - 1))
    key, colon, _ = lines[at].partition(": ")
    lines[at] = f"{key}: {path.draw(VALUES)!r}" if colon else f"{lines[at]} {path.draw(VALUES)!r}"
    survives(write(tmp_path, services="\n".join(lines).encode("utf-8", "replace").decode()))


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
@pytest.mark.parametrize("depth", [99, 1_000, 200_000])
def test_deep_nesting_does_not_end_the_process(tmp_path: Path, opening: str, depth: int) -> None:
    assert survives(write(tmp_path, services=opening * depth)) is None


def test_aliases_that_multiply_and_aliases_in_a_circle_come_to_an_end(tmp_path: Path) -> None:
    bomb = "\n".join(f"  x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]" for n in range(1, 40))
    hosts = f"all:\n vars:\n  x0: &x0 [a]\n{bomb}\n hosts: {{db-1: , db-2: , app-1: }}\n"
    loaded = survives(write(tmp_path, hosts=hosts))
    assert loaded is not None
    assert len(loaded.host("db-1").variables["x39"]) == 9
    assert survives(write(tmp_path, hosts="all: &a\n  vars: {x: *a}\n")) is None


def test_a_long_chain_of_groups_comes_to_an_end(tmp_path: Path) -> None:
    chain = "\n".join(f"g{n}: {{children: {{g{n + 1}: }}}}" for n in range(1200))
    loaded = survives(write(tmp_path, hosts=HOSTS + chain + "\ng1200: {hosts: {db-1: {deep: 1}}}\n"))
    assert loaded is not None
    assert len(loaded.host("db-1").groups) == 1201


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"\xef\xbb\xbfservices: {}",
        b"a: \x01",
        b"\x00",
        b"x: !!python/object:os.system {}",
        b"$ANSIBLE_VAULT;1.1",
    ],
)
def test_odd_bytes_are_an_inventory_error_at_most(tmp_path: Path, content: bytes) -> None:
    write(tmp_path).joinpath("services.yaml").write_bytes(content)
    survives(tmp_path)


@FAST
@example("all: {hosts: {a: {ansible_host: 1}}}")
@given(st.text(max_size=80))
def test_any_text_as_hosts_file_is_an_inventory_error_at_most(tmp_path: Path, text: str) -> None:
    (tmp_path / "services.yaml").write_text("services: {}")
    (tmp_path / "hosts.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
    survives(tmp_path)


@pytest.mark.parametrize("name", ["x" * 300, "''", ".", "..", "a/../../b", '"\\0"', "/etc"])
def test_an_odd_group_name_reads_no_file_outside_and_breaks_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / "b.yml").write_text("stolen: 1")
    files = {"hosts": HOSTS + f"{name}: {{hosts: {{db-1: }}}}\n", "group_vars/x.yml": "stolen: 1"}
    loaded = survives(write(tmp_path, **files))
    assert loaded is not None
    assert "stolen" not in loaded.host("db-1").variables
