"""Reading a request's body without ever holding more than the limit, whatever its headers claim."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from starlette.requests import ClientDisconnect, Request

MOST_BYTES = 2 * 1024 * 1024
"""About two thousand alerts in one notification."""

DROP_TIMEOUT_S = 1.0

READ_TIMEOUT_S = 20.0
"""A sender that drips its body more slowly than this is cut off."""


class BodyError(Exception):
    """The body will not be read.

    Attributes:
        status: The HTTP status to answer with.
    """

    def __init__(self, status: int) -> None:
        super().__init__(f"body not read: {status}")
        self.status = status


class _TooLong(Exception):
    pass


async def read_body(request: Request, most_bytes: int = MOST_BYTES, timeout_s: float = READ_TIMEOUT_S) -> bytes:
    """The whole body.

    Raises:
        BodyError: 413 when it is, or says it is, longer than the limit; 408 when it does not arrive in time; 400 when
            the caller hangs up within it.
    """
    claimed = request.headers.get("content-length", "")
    if claimed.isdigit() and int(claimed) > most_bytes:
        raise BodyError(413)
    chunks = request.stream()
    try:
        return await asyncio.wait_for(_collect(chunks, most_bytes), timeout_s)
    except asyncio.TimeoutError:
        raise BodyError(408) from None
    except ClientDisconnect:
        raise BodyError(400) from None
    except _TooLong:
        await _drop_rest(chunks, most_bytes)
        raise BodyError(413) from None


async def _collect(chunks: AsyncIterator[bytes], most_bytes: int) -> bytes:
    found = bytearray()
    async for chunk in chunks:
        if len(found) + len(chunk) > most_bytes:
            raise _TooLong
        found += chunk
    return bytes(found)


async def _drop_rest(chunks: AsyncIterator[bytes], most_bytes: int) -> None:
    """Read what is left and keep none of it, within limits.

    A connection that is closed with bytes unread is reset, and the sender would never see why.
    """

    async def drop() -> None:
        dropped = 0
        async for chunk in chunks:
            dropped += len(chunk)
            if dropped > most_bytes:
                return

    with contextlib.suppress(asyncio.TimeoutError, ClientDisconnect):
        await asyncio.wait_for(drop(), DROP_TIMEOUT_S)
