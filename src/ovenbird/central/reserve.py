"""Blocks held in reserve behind the end of a database's log, so that a disk that fills up at once spoils nothing.

OVS 3.1.0 notes commits of entries that it could not write, and such a log can never be opened again. An agent that
looks at the disk now and then is too late for a write that comes first: that write has to find room all the same.
This module must never change what is in the file, nor its size.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

from ovenbird.model.errors import OvenbirdError
from ovenbird.process.command import run

DATABASE_UNRESERVED = "database.unreserved"
RESERVE_BYTES = 4 << 20
LEAST_BYTES = 2 << 20
"""With less than this left, the reserve is filled up again."""
RETRY_S = 60.0
BLOCK_BYTES = 512
"""Unit of st_blocks (stat(2))."""

_log = logging.getLogger(__name__)


class Reserve:
    """The reserve of one file. Writing uses it up, and a compacted log is a new file without one."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._not_before_s = 0.0
        self._told = False

    async def keep(self) -> None:
        """Fill up the reserve if little is left; where the file system cannot, say so once and go on without."""
        if time.monotonic() < self._not_before_s:
            return
        try:
            seen = self._file.stat()
            if seen.st_blocks * BLOCK_BYTES - seen.st_size >= LEAST_BYTES:
                return
            place = ("--offset", str(seen.st_size), "--length", str(RESERVE_BYTES))
            await run("fallocate", "--keep-size", *place, str(self._file))
        except (OSError, OvenbirdError) as error:
            self._not_before_s = time.monotonic() + RETRY_S
            if not self._told:
                _log.warning(DATABASE_UNRESERVED, extra={"file": str(self._file), "why": str(error)})
            self._told = True
