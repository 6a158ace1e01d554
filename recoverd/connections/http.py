"""HTTP to a service's own interface: each call ends by its deadline, and nothing of the environment has a say in it.

Proxies, `.netrc` and certificate variables of the environment are not read: what a recovery talks to stands in the
inventory. Redirects are not followed: a password given for one place is not carried to another.
"""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recoverd.errors import Look, NotAllowed, Tampered, TimedOut, Unreachable

if TYPE_CHECKING:
    import httpx

MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Reply:
    """An answer, whatever its status says.

    Attributes:
        status: The HTTP status.
        text: Its body.
    """

    status: int
    text: str

    @property
    def ok(self) -> bool:
        """Whether the status is of the 200s."""
        return 200 <= self.status < 300

    def json(self) -> dict[str, Any]:
        """The body as a JSON object; empty where it is none."""
        try:
            found = json.loads(self.text)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


class Http:
    """One address that speaks HTTP. Safe to use from several threads; every call opens a connection of its own.

    Args:
        base: Scheme, address and port, such as https://10.0.0.11:8008.
        user: For basic authentication; sent with `post` only, since reading needs none.
        password: Likewise. It is in no error, and in no repr.
        ca_file: Certificate authority of an https address; None: those that this machine trusts.
        name: What errors call the place.
    """

    def __init__(
        self, base: str, *, user: str | None = None, password: str | None = None, ca_file: Path | None = None, name: str
    ) -> None:
        self.base, self.name = base.rstrip("/"), name
        self._login = None if user is None else (user, password or "")
        self._ca_file = ca_file

    def __repr__(self) -> str:
        return f"Http({self.base!r})"

    def get(self, path: str, *, timeout_s: float) -> Reply:
        """Ask, without a login.

        Raises:
            Unreachable: No answer in time, or the connection broke.
            Tampered: Its certificate is not one that the inventory's authority has signed for this address.
        """
        try:
            return self._call("GET", path, None, None, timeout_s)
        except TimedOut as error:
            raise Unreachable(error.message, error.hint) from error  # asking again does no harm

    def post(self, path: str, body: Mapping[str, Any], *, timeout_s: float) -> Reply:
        """Ask for a change.

        Raises:
            Unreachable: It was not heard: nobody listens there.
            TimedOut: It was heard, but no answer came in time: what it did is unknown.
            NotAllowed: It refuses the login.
            Tampered: As for `get`.
        """
        reply = self._call("POST", path, body, self._login, timeout_s)
        if reply.status in {401, 403}:
            raise NotAllowed(
                f"{self.name} refuses the login (HTTP {reply.status})",
                "check user and password of its interface in the inventory, and its list of allowed addresses",
            )
        return reply

    def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None, login: tuple[str, str] | None, timeout_s: float
    ) -> Reply:
        import httpx

        deadline = time.monotonic() + timeout_s
        try:
            with (
                httpx.Client(verify=self._trust(), trust_env=False, timeout=timeout_s, auth=login) as client,
                client.stream(method, self.base + path, json=body) as answer,
            ):
                return Reply(answer.status_code, self._read(answer, deadline))
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise self._unheard(error, timeout_s) from error
        except httpx.TimeoutException as error:
            raise TimedOut(
                f"{self.name} did not answer {method} {path} within {timeout_s:g} s", f"look at the log of {self.name}"
            ) from error
        except httpx.HTTPError as error:
            words = str(error) or type(error).__name__
            if method == "GET":
                raise Unreachable(f"{self.name} broke off: {words}", f"look at the log of {self.name}") from error
            raise TimedOut(
                f"{self.name} broke off while it was asked to {method} {path}: {words}",
                f"it may have done it: look at the log of {self.name}",
            ) from error

    def _read(self, answer: httpx.Response, deadline: float) -> str:
        """The body, no longer and no later than agreed: httpx's own limits are for each piece of it."""
        import httpx

        found = bytearray()
        for piece in answer.iter_bytes():
            found += piece
            if len(found) > MOST_BYTES:
                raise Look(f"{self.name} answers with more than {MOST_BYTES} bytes", "see what listens there")
            if time.monotonic() > deadline:
                raise httpx.ReadTimeout("its answer drips")
        return found.decode(errors="replace")

    def _trust(self) -> ssl.SSLContext:
        if not self.base.startswith("https:"):
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # never used; loading all authorities costs 20 ms
        try:
            return ssl.create_default_context(cafile=self._ca_file)
        except OSError as error:
            raise Look(
                f"the certificate authority {self._ca_file} for {self.name} cannot be read: {error.strerror or error}",
                "name an existing PEM file in the inventory",
            ) from error

    def _unheard(self, error: Exception, timeout_s: float) -> Exception:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ssl.SSLCertVerificationError):
                return Tampered(
                    f"the certificate of {self.name} is not to be trusted: {cause.verify_message}",
                    "compare it with the certificate authority that the inventory names",
                )
            cause = cause.__cause__ or cause.__context__
        words = str(error).strip() or f"no answer within {timeout_s:g} s"
        return Unreachable(f"{self.name} cannot be reached: {words}", "check the host and the network to it")
