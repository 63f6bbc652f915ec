"""Running the CLI as people do: as a process, with a deadline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEADLINE_S = 60.0
PROGRAM = [str(Path(sys.executable).with_name("ovenbird"))]


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def ovenbird(
    *args: str | Path,
    server: Path | None = None,
    given: str = "",
    env: dict[str, str] | None = None,
    timeout_s: float = DEADLINE_S,
) -> Done:
    """Run `ovenbird ARGS` to its end."""
    servers = ["--server", f"unix:{server}"] if server else []
    clean = {key: value for key, value in os.environ.items() if not key.startswith("OVENBIRD_")}
    done = subprocess.run(
        [*PROGRAM, *servers, *map(str, args)],
        input=given,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env={**clean, **(env or {})},
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)
