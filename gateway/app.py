"""The HTTP door: alerts come in, health and numbers go out. Whoever is not known learns nothing."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_attempt,
    stop_after_delay,
    wait_random_exponential,
)

from gateway.alerts_model import Alert, Parsed, ParseError, Verdict
from gateway.auth import Authenticator
from gateway.body import BodyError, read_body
from gateway.health import Health
from gateway.intake import Intake
from gateway.metrics import Metrics
from gateway.parsers import Parser, parser
from gateway.poller import Poller
from recoverd.errors import RecoverdError, Refused, TryAgain
from recoverd.inventory import AlertSource

COMMIT_TIMEOUT_S = 20.0
"""How long a sender waits for the disk; Grafana itself gives up after 30 s."""

SMALL_BYTES = 64 * 1024

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Door:
    """What the app works with.

    Attributes:
        pollers: By source: asked at once when a sender says that it left alerts out.
    """

    intake: Intake
    authenticator: Authenticator
    health: Health
    metrics: Metrics
    pollers: Mapping[str, Poller] = field(default_factory=dict)


def create_app(door: Door) -> FastAPI:
    """The app; whoever serves it starts and stops what stands behind it."""
    app = FastAPI(title="recoverd", docs_url=None, redoc_url=None, exception_handlers={HTTPException: _say_nothing})

    @app.post("/alerts/{source}", status_code=202, openapi_extra=_BODY, response_class=JSONResponse, responses=_ANSWERS)
    async def alerts(source: str, request: Request) -> Response:
        """Take the alerts of a source. 202 means that they, and the runs they start, are on disk."""
        started = time.perf_counter()
        response = await _receive(door, source, request)
        door.metrics.answered(response.status_code, time.perf_counter() - started)
        return response

    describe = app.openapi
    app.openapi = lambda: _with_schemes(describe())  # type: ignore[method-assign]

    @app.get("/livez", response_class=Response)
    async def livez() -> Response:
        """Whether the process lives."""
        return Response("ok\n", media_type="text/plain")

    @app.get(
        "/readyz", response_class=JSONResponse, responses={503: {"description": "A part is not ready; each is named"}}
    )
    async def readyz() -> Response:
        """Whether alerts are taken and acted on: each part by name, "ok" or what is wrong with it."""
        parts = await run_in_threadpool(door.health.parts)
        return JSONResponse(parts, 200 if all(each == "ok" for each in parts.values()) else 503)

    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Numbers for Prometheus."""
        text, media_type = await run_in_threadpool(door.metrics.expose)
        return Response(text, media_type=media_type)

    return app


async def _receive(door: Door, name: str, request: Request) -> Response:
    headers = {key.lower(): value for key, value in request.headers.items()}
    try:
        body = await read_body(request) if door.authenticator.needs_body(headers) else None
        knows = partial(door.authenticator.knows, name, headers, body or b"")
        source = await run_in_threadpool(knows) if door.authenticator.may_wait else knows()
        if source is None:
            return Response(status_code=401)
        reader = parser(source.kind)
        if reader.retries and (door.intake.is_full() or not door.health.is_open):
            return Response(status_code=503)
        return await _take(door, source, reader, headers, await read_body(request) if body is None else body)
    except BodyError as error:
        return Response(status_code=error.status, headers={"connection": "close"})
    except (RecoverdError, TimeoutError, asyncio.TimeoutError):
        log.exception("alerts from %s were not written down; the sender is told to try again", name)
        return Response(status_code=503)


async def _take(door: Door, source: AlertSource, reader: Parser, headers: Mapping[str, str], body: bytes) -> Response:
    parsed, reason = await _understand(reader, body, headers)
    if parsed.truncated and source.name in door.pollers:
        door.pollers[source.name].poke()

    def put(alerts: Sequence[Alert], why: str) -> Future[list[Verdict]]:
        return door.intake.submit(source, alerts, quarantine=(body, why) if why else None)

    try:
        verdicts = await _on_disk(lambda: put(parsed.alerts, reason), patient=not reader.retries)
    except Refused as error:
        # What the journal will never hold would come back for ever: it is kept as it is, for a person to read.
        reason = error.message
        verdicts = await _on_disk(lambda: put((), reason), patient=not reader.retries)
    return JSONResponse(_summary(verdicts, quarantined=bool(reason)), 202)


async def _understand(reader: Parser, body: bytes, headers: Mapping[str, str]) -> tuple[Parsed, str]:
    """What the body holds, and why it, or a part of it, belongs into quarantine; empty when all of it is understood."""
    try:
        small = len(body) <= SMALL_BYTES  # to another thread and back costs more than to read a small body
        parsed = reader.parse(body, headers) if small else await run_in_threadpool(reader.parse, body, headers)
    except ParseError as error:
        return Parsed(()), error.message
    except Exception as error:
        log.exception("the parser for %s failed; the body goes into quarantine", reader.kind)
        return Parsed(()), f"the parser failed: {type(error).__name__}"
    return parsed, "; ".join(sorted({each.reason for each in parsed.rejected}))


async def _on_disk(put: Callable[[], Future[T]], *, patient: bool) -> T:
    """The result once it is on disk. For a sender that never tries again, this tries again, as long as it listens."""
    async for attempt in AsyncRetrying(
        retry=retry_if_exception_type(TryAgain),
        stop=stop_after_delay(COMMIT_TIMEOUT_S) if patient else stop_after_attempt(1),
        wait=wait_random_exponential(0.1, max=1),
        reraise=True,
    ):
        with attempt:
            found = await asyncio.wait_for(asyncio.wrap_future(put()), COMMIT_TIMEOUT_S)
    return found


def _summary(verdicts: list[Verdict], quarantined: bool) -> dict[str, Any]:
    counts: dict[str, int] = {}
    for verdict in verdicts:
        counts[verdict.outcome] = counts.get(verdict.outcome, 0) + 1
    runs = sorted({verdict.run for verdict in verdicts if verdict.run})
    return {"alerts": len(verdicts), "outcomes": counts, "runs": runs, "quarantined": quarantined}


async def _say_nothing(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return Response(status_code=status)


def _with_schemes(document: dict[str, Any]) -> dict[str, Any]:
    """Say how sources prove themselves, and leave out an answer that is never given."""
    document.setdefault("components", {})["securitySchemes"] = _SCHEMES
    document["components"].pop("schemas", None)
    document["paths"]["/alerts/{source}"]["post"]["responses"].pop("422", None)
    return document


_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "basic": {"type": "http", "scheme": "basic"},
    "grafana-hmac": {
        "type": "apiKey", "in": "header", "name": "X-Grafana-Alerting-Signature",
        "description": "HMAC-SHA256 of the body; the source in alerts.yaml names the header",
    },
}  # fmt: skip
_BODY = {
    "security": [{"bearer": []}, {"basic": []}, {"grafana-hmac": []}],
    "requestBody": {
        "required": True,
        "description": "The sender's standard webhook payload.",
        "content": {"application/json": {"schema": {"type": "object"}}},
    },
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    401: {"description": "No such source, or it did not prove itself. Empty."},
    408: {"description": "The body did not arrive in time. Empty."},
    413: {"description": "The body is too long. Empty."},
    503: {"description": "Not written down: send it again. Empty."},
}
