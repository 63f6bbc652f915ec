"""Waiting for a result instead of sleeping: poll with a deadline, and say what was seen last when it passes."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")

PATIENCE = 3.0
"""What a busy machine may take, in parts of a deadline: only what fails waits longer for it."""


async def eventually(check: Callable[[], T | Awaitable[T]], *, within_s: float, every_s: float = 0.05) -> T:
    """Return the first truthy result of `check`; a result that stays falsy, or an AssertionError that stays, fails."""
    deadline_s = time.monotonic() + PATIENCE * within_s
    while True:
        last: Any = None
        try:
            found = check()
            last = await found if inspect.isawaitable(found) else found
            if last:
                return last
        except AssertionError as error:
            last = error
        if time.monotonic() > deadline_s:
            raise AssertionError(f"not so within {PATIENCE * within_s} s; last: {last!r}")
        await asyncio.sleep(every_s)


def eventually_sync(check: Callable[[], T], *, within_s: float, every_s: float = 0.05) -> T:
    """As `eventually`, for code without an event loop."""
    deadline_s = time.monotonic() + PATIENCE * within_s
    while True:
        last: Any = None
        try:
            last = check()
            if last:
                return last
        except AssertionError as error:
            last = error
        if time.monotonic() > deadline_s:
            raise AssertionError(f"not so within {PATIENCE * within_s} s; last: {last!r}")
        time.sleep(every_s)
