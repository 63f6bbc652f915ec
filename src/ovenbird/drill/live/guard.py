"""Gives a drained gateway back when the drill that drained it has ended, died or taken too long.

A process of its own that outlives Ctrl-C and `kill -9` of its runner: it waits for the end of its stdin, which the
runner holds, and has a limit. What it could not give back stays in the record on disk, for the next run or
`ovenbird drill heal --live`. This module must never drain anything.
"""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ovenbird.api.client import Client
from ovenbird.model.errors import OvenbirdError

RECORD = Path("/var/lib/ovenbird/drill.json")
"""Gateways that a drill has drained: {"drained": [name, ...]}."""
TRIES = 20
AGAIN_S = 3.0


def remember(gateway: str, record: Path = RECORD) -> None:
    """Note that a gateway is about to be drained; called before it is."""
    record.parent.mkdir(parents=True, exist_ok=True)
    half = record.with_suffix(".new")
    half.write_text(json.dumps({"drained": sorted({*remembered(record), gateway})}) + "\n", encoding="utf-8")
    half.rename(record)


def remembered(record: Path = RECORD) -> list[str]:
    """Return the gateways that drills drained and did not give back."""
    try:
        return [str(name) for name in json.loads(record.read_text(encoding="utf-8"))["drained"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def give_back(sockets: Sequence[Path], record: Path = RECORD) -> list[str]:
    """Undrain what is on record, and forget it; return what was. Raises what the API raises: it stays on record."""
    names = remembered(record)
    for name in names:
        Client(sockets).post("/v1/gateways/undrain", {"node": name})
    record.unlink(missing_ok=True)
    return names


def start(sockets: Sequence[Path], limit_s: float) -> subprocess.Popen[bytes]:
    """Start the guard; closing its stdin makes it give back what is on record, and end."""
    words = [sys.executable, "-m", __name__, str(limit_s), *map(str, sockets)]
    return subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def main(limit_s: float, sockets: Sequence[Path]) -> None:
    """Wait for the runner's end or the limit, then give back, trying again while nobody answers."""
    select.select([sys.stdin], [], [], limit_s)
    for _ in range(TRIES):
        with contextlib.suppress(OvenbirdError):
            give_back(sockets)
            return
        time.sleep(AGAIN_S)


if __name__ == "__main__":
    main(float(sys.argv[1]), [Path(word) for word in sys.argv[2:]])
