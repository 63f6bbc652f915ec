"""Runs one short command with a deadline. The only place that waits for a child process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from contextlib import suppress

from ovenbird.model.errors import Down, Timeout

OUTPUT_LIMIT = 2000
"""Characters of a failed command's output that are kept as evidence."""


class CommandFailed(Down):
    """A command ended with a status other than 0; `evidence` is the end of what it wrote."""

    default_code = "command_failed"

    def __init__(self, argv: tuple[str, ...], status: int, output: str) -> None:
        self.status = status
        evidence = output.strip()[-OUTPUT_LIMIT:]
        super().__init__(
            f"{' '.join(argv)[:300]}: exit status {status}: {evidence}", subject=argv[0], evidence=evidence
        )


async def run(*argv: str, stdin: str = "", timeout_s: float = 10.0, env: Mapping[str, str] | None = None) -> str:
    """Run a command to its end and return its standard output.

    `env` is added to this process's environment. Raises `CommandFailed`, `Timeout` (the command was ended) or
    `Down` when there is no such program.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **env} if env else None,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise Down(f"no such program: {argv[0]}", subject=argv[0], hint="run scripts/setup") from error
    try:
        async with asyncio.timeout(timeout_s):
            out, err = await process.communicate(stdin.encode() if stdin else None)
    except TimeoutError:
        raise Timeout(f"{' '.join(argv)[:300]}: not done in {timeout_s:g} s", subject=argv[0]) from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode:
        raise CommandFailed(argv, process.returncode or 0, (err or out).decode(errors="replace"))
    return out.decode(errors="replace")
