"""Waiting for results with a deadline, so that no test sleeps and none hangs."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any


async def eventually(check: Callable[[], Any | Awaitable[Any]], *, within_s: float, every_s: float = 0.05) -> Any:
    """Return the first true answer of `check`, or fail after `within_s` with the last one."""
    deadline = time.monotonic() + within_s
    while True:
        answer = check()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {within_s} s; the last answer was {answer!r}"
        await asyncio.sleep(every_s)


def eventually_sync(check: Callable[[], Any], *, within_s: float, every_s: float = 0.05) -> Any:
    """Return the first true answer of `check`, or fail after `within_s` with the last one."""
    deadline = time.monotonic() + within_s
    while True:
        answer = check()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {within_s} s; the last answer was {answer!r}"
        time.sleep(every_s)
