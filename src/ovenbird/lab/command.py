"""Runs short commands with a deadline, killing everything they started when it passes.

`subprocess.run(timeout=...)` kills only the direct child; `nsenter` into a PID namespace has forked by then, so the
real command would go on. Here each command is a process group of its own and the whole group dies at the deadline.
This module must never run anything without a deadline, nor through a shell.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ovenbird.model.errors import OvenbirdError, Timeout, Unavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """A command that came to its end by itself."""

    argv: tuple[str, ...]
    status: int
    """Exit status; negative: the signal that ended it."""
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        """Whether the command succeeded."""
        return self.status == 0

    def checked(self, *, subject: str = "") -> Completed:
        """Return self, or raise `OvenbirdError` with the command's own words as evidence."""
        if self.ok:
            return self
        raise OvenbirdError(
            f"command failed with status {self.status}: {shlex.join(self.argv)[:300]}",
            code="command_failed",
            subject=subject,
            evidence=(self.stderr.strip() or self.stdout.strip())[-2000:],
        )


def run(
    argv: Sequence[str], *, timeout_s: float, stdin: str = "", environment: Mapping[str, str] | None = None
) -> Completed:
    """Run a command to its end, from `/` so that it pins no directory.

    Raises `Timeout` after `timeout_s` (the command and its children are dead by then), `Unavailable` if it cannot
    start.
    """
    try:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            cwd="/",
            env=None if environment is None else dict(environment),
            start_new_session=True,
        )
    except OSError as error:
        raise Unavailable(f"cannot start {argv[0]}: {error.strerror}", subject=argv[0]) from error
    with process:
        try:
            stdout, stderr = process.communicate(stdin, timeout=timeout_s)
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            stdout, stderr = process.communicate()
            raise Timeout(
                f"command not done in {timeout_s:g} s: {shlex.join(argv)[:300]}", evidence=(stderr or stdout)[-2000:]
            ) from error
    return Completed(argv=tuple(argv), status=process.returncode, stdout=stdout, stderr=stderr)
