"""A full disk: nothing more can be written where a node keeps its databases, until the space comes back.

The databases of a central node lie on a small file system of their own (`ovenbird.lab.boot`); it is filled by one file.
This module must never fill a file system of the host.
"""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ovenbird.lab.faults.fault import Fault

DATABASE_DIRECTORIES = ("/var/lib/ovn", "/var/lib/ovenbird")
_FILLER = "/var/lib/.filler"
_SMALLEST = 4096


@dataclass(kw_only=True)
class DiskFull(Fault):
    """Fill the file system with a node's databases to the last block."""

    kind: ClassVar[str] = "disk-full"
    stored: ClassVar[tuple[str, ...]] = ("node",)
    node: str

    def describe(self) -> str:
        """Return one line for people."""
        return f"full disk on {self.node}"

    def available(self) -> str | None:
        """Say no when the databases do not lie on a file system of their own."""
        node = self.lab.node(self.node)
        if not node.is_up:
            return "the node is off"
        if node.path("/var/lib").stat().st_dev == node.directory.stat().st_dev:
            return "its databases lie on the host's own file system (only central nodes have one, if loop devices work)"
        return "it is full already" if self.bites() else None

    def act(self) -> None:
        """Take all free blocks; they are not written, only taken."""
        with self._path(_FILLER).open("ab") as filler:
            size = 1 << 30
            while size >= _SMALLEST:
                try:
                    os.posix_fallocate(filler.fileno(), os.fstat(filler.fileno()).st_size, size)
                except OSError as error:
                    if error.errno not in (errno.ENOSPC, errno.EFBIG):
                        raise
                    size //= 2

    def bites(self) -> bool:
        """Whether a new block can be written in none of the directories."""
        return all(self._is_full(directory) for directory in DATABASE_DIRECTORIES)

    def undo(self) -> None:
        """Give the space back."""
        self._path(_FILLER).unlink(missing_ok=True)

    def _path(self, inside: str) -> Path:
        return self.lab.node(self.node).path(inside)

    def _is_full(self, directory: str) -> bool:
        trial = self._path(f"{directory}/.trial")
        try:
            with trial.open("wb", buffering=0) as file:
                file.write(b"\0" * _SMALLEST)
                os.fsync(file.fileno())
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            return True
        finally:
            with contextlib.suppress(FileNotFoundError):
                trial.unlink()
        return False
