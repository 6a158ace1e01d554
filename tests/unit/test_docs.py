"""What the documents name is there: files, links, tests, commands with their options, settings. docs/cli.md has its own test."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.main import get_command

from gateway.cli.main import app
from lab.demo.__main__ import parse
from recoverd.settings import Settings

ROOT = Path(__file__).parents[2]
DOCUMENTS = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("inventories/**/*.md"))
}
TOP = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
TESTS = {
    name for file in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", file.read_text())
}


def every_document() -> Any:
    return pytest.mark.parametrize("document", sorted(DOCUMENTS))


def code(text: str) -> Iterator[str]:
    """What is marked as code: in backticks, and lines of blocks; what a program printed is left out."""
    text = re.sub(r"```(?:text|python|yaml)\n.*?```", "", text, flags=re.DOTALL)
    yield from (line.strip() for line in re.findall(r"^(?: {4,}|\t)(.+)$", text, flags=re.MULTILINE))
    yield from re.findall(r"`([^`\n]+)`", text)


def commands(text: str, program: str) -> Iterator[list[str]]:
    """Calls of a program in a text, as words."""
    for line in code(text):
        for part in re.split(r"&&|\||;", line.partition("  #")[0]):
            words = re.split(r"\s{3,}", part.strip())[0]
            if words.startswith(f"{program} "):
                yield shlex.split(words)[len(program.split()) :]


@every_document()
def test_relative_links_lead_somewhere(document: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", DOCUMENTS[document]):
        if "://" not in target:
            assert (ROOT / document).parent.joinpath(target).exists(), target


@every_document()
def test_files_that_are_named_are_there(document: str) -> None:
    for word in code(DOCUMENTS[document]):
        for path in re.findall(r"(?<![\w/.~$-])(\w[\w.-]*/[\w./-]*)", word):
            if path.split("/")[0] in TOP and "production" not in path and "slowlog" not in path:
                assert (ROOT / path.rstrip(".")).exists(), path


@every_document()
def test_tests_that_are_named_are_there(document: str) -> None:
    named = {word for word in code(DOCUMENTS[document]) if re.fullmatch(r"test_\w+", word)}
    assert named <= TESTS


@pytest.mark.parametrize("document", sorted(set(DOCUMENTS) - {"docs/cli.md"}))
def test_commands_are_called_as_they_can_be(document: str) -> None:
    for words in commands(DOCUMENTS[document], "recoverd"):
        command, arguments = find_command(words)
        options = {word.partition("=")[0] for word in arguments if word.startswith("-")}
        assert options <= options_of(command), (document, command.name, options)


def find_command(words: list[str]) -> tuple[Any, list[str]]:
    """The command that is called, and its arguments."""
    command: Any = get_command(app)
    while words and words[0] in options_of(command) - {"--help", "-h"}:
        words = words[2:]  # global options, which have a value each
    while words and (words[0] in getattr(command, "commands", {}) or hasattr(command, "default")):
        name = words[0] if words[0] in command.commands else command.default
        command, words = command.commands[name], words[words[0] in command.commands :]
    assert not hasattr(command, "commands") or not words or words[0] in ("…", "--help"), words
    return command, words


def options_of(command: Any) -> set[str]:
    found = {
        name for one in command.params if one.param_type_name == "option" for name in (*one.opts, *one.secondary_opts)
    }
    return found | {"--help", "-h"}


@every_document()
def test_make_has_the_targets(document: str) -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for words in commands(DOCUMENTS[document], "make"):
        assert words[0] in targets


@every_document()
def test_the_demo_has_the_options(document: str) -> None:
    for words in commands(DOCUMENTS[document], "python -m lab.demo"):
        if "--help" not in words:
            parse(words)


@every_document()
def test_settings_that_are_named_are_there(document: str) -> None:
    known = {f"RECOVERD_{name.upper()}" for name in Settings.model_fields}
    others = {"RECOVERD_CONFIG", "RECOVERD_DEBUG", "RECOVERD_OUTPUT", "RECOVERD_LAB", "RECOVERD_LAB_DIR", "RECOVERD_"}
    assert set(re.findall(r"RECOVERD_\w*", DOCUMENTS[document])) <= known | others


def test_every_setting_is_explained_with_its_default() -> None:
    rows = re.findall(r"^\| `RECOVERD_(\w+)` \| (.*?) \| .+ \|$", DOCUMENTS["docs/install.md"], flags=re.MULTILINE)
    told = {name.lower(): default for name, default in rows}
    assert told.keys() == Settings.model_fields.keys()
    for name, field in Settings.model_fields.items():
        if field.default_factory is None and field.default not in ("", None):
            assert told[name] == f"`{field.default}`"


def test_the_procedure_in_the_guide_can_be_loaded_and_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    from deployments.catalogue import Procedure

    text = DOCUMENTS["docs/adding-a-procedure.md"]
    module = ModuleType("flows.slowlog")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    source = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)[0]
    exec(compile(source, "docs/adding-a-procedure.md", "exec"), module.__dict__)  # noqa: S102 - our own document
    line = re.findall(r"^ {4}(Procedure\(.*\)),$", text, flags=re.MULTILINE)[0]
    known = eval(line, {"Procedure": Procedure})  # noqa: S307 - our own document
    assert known.flow() is module.__dict__["slowlog"]
    assert module.__dict__["log_slow"].undo == "flows.slowlog:log_nothing"


def test_enough_is_read_to_mean_something() -> None:
    assert sum(1 for text in DOCUMENTS.values() for _ in commands(text, "recoverd")) > 40
    with pytest.raises(AssertionError):
        find_command(["chekc"])
