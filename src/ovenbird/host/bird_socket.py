"""Asks BIRD on its control socket, as birdc(8) does, without starting a process for every question.

An answer is lines, each with a code of four digits (the BIRD documentation's reply codes): after `NNNN-text` more
follows, `NNNN text` was the last one; a line that begins with a space has the code of the line before. Codes from
8000 are errors. This module must never change what BIRD does but by the one command `configure`.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from ovenbird.model.errors import Refused, Unavailable

PROTOCOLS = "show protocols all"
CONFIGURE = "configure"
_FIRST_ERROR = 8000
_LONGEST_LINE_BYTES = 1 << 16

Line = tuple[str, str]
"""Code and text."""


async def ask(path: Path, words: str, *, timeout_s: float) -> tuple[Line, ...]:
    """Send one command and return its answer. Raises `Unavailable` when nobody answers in time, `Refused`."""
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_unix_connection(str(path), limit=_LONGEST_LINE_BYTES)
            try:
                await _answer(reader)  # the greeting
                writer.write(f"{words}\n".encode())
                lines = await _answer(reader)
            finally:
                writer.close()
    except TimeoutError as error:
        raise _unavailable(path, f"no answer in {timeout_s:g} s") from error
    except (OSError, EOFError, ValueError) as error:
        raise _unavailable(path, str(error) or type(error).__name__) from error
    if lines and int(lines[-1][0]) >= _FIRST_ERROR:
        raise Refused(
            f"BIRD refuses to {words}",
            code="bird_refuses",
            subject=str(path),
            evidence="; ".join(text for _, text in lines),
        )
    return lines


async def _answer(reader: asyncio.StreamReader) -> tuple[Line, ...]:
    lines: list[Line] = []
    while True:
        raw = await reader.readline()
        if not raw.endswith(b"\n"):
            raise EOFError("it hung up")
        line = raw.decode(errors="replace").rstrip("\n")
        if line.startswith(" "):
            lines.append((lines[-1][0] if lines else "", line[1:]))
            continue
        code, separator, text = line[:4], line[4:5], line[5:]
        if not code.isdigit() or separator not in (" ", "-"):
            raise ValueError(f"not an answer of BIRD: {line[:80]!r}")
        lines.append((code, text))
        if separator == " ":
            return tuple(lines)


def _unavailable(path: Path, why: str) -> Unavailable:
    return Unavailable("BIRD cannot be asked", code="no_bird", subject=str(path), evidence=why)
