"""Keeps the agent's parts going: one that fails is logged and run again after a pause; the others do not notice."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from ovenbird.model.errors import OvenbirdError

PART_FAILED = "part.failed"
PART_ENDED = "part.ended"
FIRST_DELAY_S = 0.2
LONGEST_DELAY_S = 10.0
STABLE_S = 30.0

_log = logging.getLogger(__name__)


async def keep_part(name: str, run: Callable[[], Awaitable[None]]) -> None:
    """Run a part for ever. A part that failed is run again with a growing pause; one that ended by itself is done."""
    delay_s = FIRST_DELAY_S
    said = ""
    while True:
        began = time.monotonic()
        try:
            await run()
        except Exception as error:  # a supervisor: whatever a part fails with must not take the other parts along
            causes = _leaves(error)
            text = "; ".join(f"{type(cause).__name__}: {cause}" for cause in causes)
            # What a person must fix stays the same at every attempt: say it once.
            if text != said:
                expected = all(isinstance(cause, OvenbirdError) for cause in causes)
                hints = [cause.hint for cause in causes if isinstance(cause, OvenbirdError) and cause.hint]
                fields = {"part": name, "error": text, "hints": hints}
                _log.error(PART_FAILED, extra=fields, exc_info=None if expected else error)
                said = text
        else:
            _log.info(PART_ENDED, extra={"part": name})
            return
        if time.monotonic() - began > STABLE_S:
            delay_s, said = FIRST_DELAY_S, ""
        await asyncio.sleep(delay_s)
        delay_s = min(LONGEST_DELAY_S, delay_s * 2)


def _leaves(error: BaseException) -> list[BaseException]:
    """Return the failures inside nested exception groups."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]
