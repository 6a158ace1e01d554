"""Label matchers in Alertmanager's syntax: `severity=~"critical|page"`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, Literal

from pydantic import Field, model_validator

from recoverd.inventory.base import Model

_MATCHER = re.compile(
    r"""\s*(?:(?P<name>[a-zA-Z_:][\w:.\-/]*)|"(?P<quoted>(?:[^"\\]|\\.)+)")\s*
        (?P<op>=~|!~|!=|=)\s*
        (?:"(?P<value>(?:[^"\\]|\\.)*)"|(?P<bare>[^",{}\s][^",{}]*?|))\s*(?P<end>,|$)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", '"': '"', "\\": "\\"}
_FOREIGN = re.compile(r"\(\?(?:=|!|<=|<!|P=|\()|\\[1-9]|\[\[:|\\[pPzQEC]")
"""What Go's regular expressions and Python's do not share: a matcher with it would mean something else here."""


class Matcher(Model):
    """One condition on an alert's labels. A label that is missing counts as empty, as in Alertmanager."""

    label: str = Field(min_length=1, description="the label's name")
    op: Literal["=", "!=", "=~", "!~"] = Field("=", description="equal, not equal, matches, does not match")
    value: str = Field("", description="the wanted text, or for =~ and !~ a regular expression for the whole value")

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, given: Any) -> Any:
        if isinstance(given, str):
            found = parse_matchers(given)
            if len(found) != 1:
                raise ValueError(f"{len(found)} matchers where one is expected")
            return dict(found[0])
        return given

    @model_validator(mode="after")
    def _regex_is_good(self) -> Matcher:
        if "~" in self.op:
            _compiled(self.value)
        return self

    @classmethod
    def parse(cls, text: str) -> Matcher:
        """The matcher that the text writes.

        Raises:
            ValueError: The text is not one matcher, or its regular expression is bad.
        """
        return cls.model_validate(text)

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels fulfil the condition."""
        actual = labels.get(self.label, "")
        same = self._pattern.fullmatch(actual) is not None if "~" in self.op else actual == self.value
        return same != self.op.startswith("!")

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return _compiled(self.value)

    def __str__(self) -> str:
        escaped = self.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'{self.label}{self.op}"{escaped}"'


def parse_matchers(text: str) -> tuple[Matcher, ...]:
    """The matchers of a text such as `{alertname="PostgresDown", job=~"pg.*"}`; the braces may be left out.

    Raises:
        ValueError: It is not Alertmanager's syntax, or a regular expression is bad.
    """
    inner = text.strip()
    if inner.startswith("{") != inner.endswith("}"):
        raise ValueError(f"the matcher {text} has an unbalanced brace")
    inner = inner[1:-1].strip() if inner.startswith("{") else inner
    found: list[Matcher] = []
    at = 0
    while at < len(inner):
        one = _MATCHER.match(inner, at)
        if one is None:
            raise ValueError(f'{inner[at:].strip()} is not a matcher; write label="value", with one of = != =~ !~')
        value = one["bare"] if one["value"] is None else _unescaped(one["value"])
        found.append(Matcher(label=one["name"] or _unescaped(one["quoted"]), op=one["op"], value=value))
        at = one.end()
    return tuple(found)


def flat(given: Any) -> Any:
    """What a `match:` key holds, one text or a list of texts and mappings, as a list of single matchers."""
    if isinstance(given, str):
        return parse_matchers(given)
    if isinstance(given, (list, tuple)):
        return [matcher for item in given for matcher in (parse_matchers(item) if isinstance(item, str) else (item,))]
    return given


def all_match(matchers: Iterable[Matcher], labels: Mapping[str, str]) -> bool:
    """Whether the labels fulfil every condition."""
    return all(matcher.matches(labels) for matcher in matchers)


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda found: _ESCAPES.get(found[1], found[0]), text)


def _compiled(pattern: str) -> re.Pattern[str]:
    foreign = _FOREIGN.search(pattern)
    if foreign:
        raise ValueError(
            f"the regular expression {pattern} uses {foreign[0]}, which Alertmanager and recoverd do not share"
        )
    try:
        return re.compile(pattern, re.ASCII)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"the regular expression {pattern} is bad: {error}") from None
