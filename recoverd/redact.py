"""Keeps secrets out of whatever is written down: the journal, logs, errors.

Two passes: values that this process has resolved from a secret reference, and shapes that give a secret away.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from urllib.parse import quote

MASK = "***"

# Values shorter than this stand inside too many ordinary words: they are masked only where they stand alone.
SHORTEST_ANYWHERE = 8

SECRET_KEYS = frozenset(
    {
        "access_token",
        "api_key",
        "apikey",
        "authorization",
        "client_secret",
        "passphrase",
        "passwd",
        "password",
        "pgpassword",
        "private_key",
        "pwd",
        "refresh_token",
        "secret",
        "secret_access_key",
        "secret_key",
        "token",
    }
)

_SHAPES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s:/@]*:)[^\s@]+(@)", re.IGNORECASE), rf"\1{MASK}\2"),
    (
        re.compile(
            r"(\b(?:pg)?(?:password|passwd|passphrase|secret|api_?key|access_token|client_secret)[\"']?\s*[=:]\s*)"
            r"('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[^\s,;&\"'})]+)",
            re.IGNORECASE,
        ),
        rf"\1{MASK}",
    ),
    (re.compile(r"(\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE), rf"\1{MASK}"),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), MASK),
)

_values: frozenset[str] = frozenset()
_pattern: re.Pattern[str] | None = None


def redact(text: str) -> str:
    """`text` with every known secret, and everything shaped like one, replaced by `***`."""
    if _pattern is not None:
        text = _pattern.sub(MASK, text)
    for shape, replacement in _SHAPES:
        text = shape.sub(replacement, text)
    return text


def is_secret_key(key: str) -> bool:
    """Whether a value under this key of a mapping is a secret by its name."""
    return key.lower().replace("-", "_") in SECRET_KEYS


def register_secret(value: str) -> None:
    """Remember a secret's value for this process (and its forks), so that `redact` masks it from now on.

    A value that equals an ordinary name (a host, a user) masks that name too: secrets should not be names.
    """
    global _pattern, _values  # noqa: PLW0603 - one registry a process, replaced as a whole so that readers need no lock
    if not value or value in _values:
        return
    _values = _values | {value}
    _pattern = _compiled(_values)


def _compiled(values: Iterable[str]) -> re.Pattern[str]:
    shapes = {shape for value in values for shape in _written(value)}
    ordered = sorted(shapes, key=len, reverse=True)  # the longest first: one secret may contain another
    return re.compile("|".join(_bounded(shape) for shape in ordered))


def _written(value: str) -> tuple[str, str, str]:
    """The value as it is, as it stands in a URL and as it stands in JSON."""
    return value, quote(value, safe=""), json.dumps(value)[1:-1]


def _bounded(shape: str) -> str:
    literal = re.escape(shape)
    return literal if len(shape) >= SHORTEST_ANYWHERE else rf"(?<!\w){literal}(?!\w)"
