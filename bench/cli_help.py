"""How soon `ovenbird --help` answers: the time a person waits before every command, and at every TAB.

The limit is what no Python program can beat: an interpreter that starts and does nothing. There is no peer with this
very command; the goal is 150 ms.

    .venv/bin/python -m bench.cli_help [--rounds N]

Prints one JSON line.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench.line import Goal, print_line

GOAL_MS = 150.0


def took_ms(command: list[str]) -> float:
    """Run a command to its end; wall-clock time."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=30)
    return (time.perf_counter() - began) * 1000


def main() -> None:
    """Measure both, interleaved, so that a busy machine slows both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    ours = [str(Path(sys.executable).with_name("ovenbird")), "--help"]
    limit = [sys.executable, "-c", "pass"]
    took_ms(ours)  # the first run compiles
    pairs = [(took_ms(ours), took_ms(limit)) for _ in range(rounds)]
    mine, least = sorted(pair[0] for pair in pairs), [pair[1] for pair in pairs]
    p50 = statistics.median(mine)
    line = {
        "name": "cli_help",
        "unit": "ms",
        "ours": round(p50, 1),
        "peer": None,
        "limit": round(statistics.median(least), 1),
        "ratio": round(p50 / statistics.median(least), 2),
        "p95": round(mine[int(0.95 * (len(mine) - 1))], 1),
        "rounds": rounds,
    }
    print_line(line, Goal("ours", "<=", GOAL_MS))


if __name__ == "__main__":
    main()
