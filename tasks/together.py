"""Doing several things at once, each within the run's context."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")
K = TypeVar("K")


def together(calls: Mapping[K, Callable[[], T]], *, at_most: int = 32) -> dict[K, T]:
    """Make all calls in parallel and give their results by name; the first error is raised after all have ended.

    Each call has limits of its own, so this ends too.
    """
    if not calls:
        return {}
    with ThreadPoolExecutor(max_workers=min(at_most, len(calls)), thread_name_prefix="together") as pool:
        futures = {name: pool.submit(copy_context().run, call) for name, call in calls.items()}
        return {name: future.result() for name, future in futures.items()}
