"""Who may send alerts: bearer tokens, basic passwords, Grafana's HMAC; several secrets at once, so that they rotate.

An unknown caller learns nothing: not whether a source exists, not how it authenticates, not how near a guess came.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping

from recoverd.errors import RecoverdError
from recoverd.inventory import AlertSource, Auth, Basic, Bearer, GrafanaHmac, SecretRef

SIGNATURE_HEADER = "x-grafana-alerting-signature"
KEPT_S = 30.0
"""How long a secret from a Prefect block is kept. Files are looked at on every request, variables never change."""

log = logging.getLogger(__name__)

Identity = tuple[object, ...]


class Secrets:
    """The values behind references. A file is read again as soon as it changes, so that rotation needs no restart."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[str, tuple[Identity, bytes]] = {}
        self._guard = threading.Lock()

    def value(self, reference: SecretRef) -> bytes | None:
        """The secret, or None, with an error in the log, while it cannot be read: it then opens nothing."""
        name, identity = str(reference), self._identity(reference)
        with self._guard:
            kept = self._kept.get(name)
        if kept is not None and kept[0] == identity:
            return kept[1]
        try:
            value = reference.resolve().encode()
        except RecoverdError as error:
            log.warning("a secret of an alert source cannot be used now: %s", error)
            return None
        with self._guard:
            self._kept[name] = (identity, value)
        return value

    def _identity(self, reference: SecretRef) -> Identity:
        """What changes when the secret may have changed."""
        if reference.file is not None:
            try:
                found = os.stat(os.path.expandvars(str(reference.file)))
            except OSError as error:
                return ("missing", error.errno, self._clock())
            return (found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size)
        if reference.prefect_block is not None:
            return (int(self._clock() / KEPT_S),)
        return (os.environ.get(str(reference.env)),)


class Authenticator:
    """Says whether a request comes from the source that it names."""

    def __init__(
        self, sources: Mapping[str, AlertSource], secrets: Secrets | None = None, now: Callable[[], float] = time.time
    ) -> None:
        self._sources = sources
        self._secrets = secrets or Secrets()
        self._now = now
        self._nobody = os.urandom(32)
        hmacs = (source.auth for source in sources.values() if isinstance(source.auth, GrafanaHmac))
        self._signature_headers = {SIGNATURE_HEADER, *(auth.header.lower() for auth in hmacs)}

    @property
    def may_wait(self) -> bool:
        """Whether a secret lives in a Prefect block, so that `knows` may have to ask a server: not for an event loop."""
        every = (reference for source in self._sources.values() for reference in secrets_of(source.auth))
        return any(reference.prefect_block is not None for reference in every)

    def needs_body(self, headers: Mapping[str, str]) -> bool:
        """Whether the answer needs the body. It depends on the request alone, so it tells nothing about the source."""
        return not self._signature_headers.isdisjoint(headers)

    def knows(self, name: str, headers: Mapping[str, str], body: bytes = b"") -> AlertSource | None:
        """The source of that name if the request proves to come from it, else None. Header names are in lower case.

        The name of no source costs the same comparison as a wrong secret.
        """
        source = self._sources.get(name)
        if source is None:
            _any_equal(_authorization("bearer", headers) or b"", iter([self._nobody]))
            return None
        return source if self._proves(source, headers, body) else None

    def _proves(self, source: AlertSource, headers: Mapping[str, str], body: bytes) -> bool:
        auth = source.auth
        if isinstance(auth, Bearer):
            given = _authorization("bearer", headers)
            return given is not None and _any_equal(given, self._values(auth.tokens))
        if isinstance(auth, Basic):
            return self._proves_basic(auth, headers)
        return self._proves_hmac(auth, headers, body)

    def _proves_basic(self, auth: Basic, headers: Mapping[str, str]) -> bool:
        try:
            given = base64.b64decode(_authorization("basic", headers) or b"", validate=True)
        except (binascii.Error, ValueError):
            return False
        known = (name.encode() + b":" + each for name, refs in auth.users.items() for each in self._values(refs))
        return bool(given) and _any_equal(given, known)

    def _proves_hmac(self, auth: GrafanaHmac, headers: Mapping[str, str], body: bytes) -> bool:
        """A replay of a request without a time in it is harmless: the same alert never acts twice."""
        stamp = None
        if auth.timestamp_header is not None:
            stamp = headers.get(auth.timestamp_header.lower(), "").strip()
            if not _is_recent(stamp, self._now(), auth.max_age_s):
                return False
        given = headers.get(auth.header.lower(), "").strip().lower()
        return _any_equal(
            given.encode("latin-1", "replace"), (sign(each, body, stamp) for each in self._values(auth.secrets))
        )

    def _values(self, references: tuple[SecretRef, ...]) -> Iterator[bytes]:
        return (value for value in map(self._secrets.value, references) if value is not None)


def secrets_of(auth: Auth) -> tuple[SecretRef, ...]:
    """All secrets that a source may prove itself with."""
    if isinstance(auth, Bearer):
        return auth.tokens
    if isinstance(auth, Basic):
        return tuple(reference for passwords in auth.users.values() for reference in passwords)
    return auth.secrets


def sign(secret: bytes, body: bytes, stamp: str | None = None) -> bytes:
    """Grafana's signature, in hex: of the body, or of `<unix seconds>:<body>` where the time is signed too."""
    text = body if stamp is None else stamp.encode() + b":" + body
    return hmac.new(secret, text, hashlib.sha256).hexdigest().encode()


def _is_recent(stamp: str, now: float, max_age_s: float) -> bool:
    return re.fullmatch(r"\d{1,12}", stamp, re.ASCII) is not None and abs(now - int(stamp)) <= max_age_s


def _any_equal(given: bytes, known: Iterator[bytes]) -> bool:
    """Whether one of the known values was given. All are compared, as hashes of one length, so time tells nothing."""
    found = False
    for each in known:
        found |= hmac.compare_digest(_digest(given), _digest(each))
    return found


def _digest(value: bytes) -> bytes:
    return hashlib.sha256(value).digest()


def _authorization(scheme: str, headers: Mapping[str, str]) -> bytes | None:
    """What stands behind the scheme's name in the Authorization header."""
    name, _, value = headers.get("authorization", "").partition(" ")
    given = value.strip()
    return given.encode("latin-1", "replace") if given and name.lower() == scheme else None
