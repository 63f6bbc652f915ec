"""How soon a lab of 3 central nodes, 2 gateways and 2 computes is ready for use.

    ours   `ovenbird lab up`: until the cluster's own status is healthy; agents, controller, third database included
    peer   bench/lab_up_peer.sh: a serial shell script with the stock daemons, until all chassis are registered

    .venv/bin/python -m bench.lab_up [--rounds N]        (needs root)

Prints one JSON line.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench.line import Goal, print_line

GOAL_S = 15.0
PEER = Path(__file__).with_name("lab_up_peer.sh")


def ours_s(name: str) -> float:
    """Bring a lab up, take it away; seconds until `lab up` returned."""
    ovenbird = str(Path(sys.executable).with_name("ovenbird"))
    quiet = {"stderr": subprocess.PIPE, "text": True}
    try:
        began = time.perf_counter()
        done = subprocess.run([ovenbird, "lab", "up", "--name", name], timeout=120, check=False, **quiet)
        took = time.perf_counter() - began
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        return took
    finally:
        subprocess.run([ovenbird, "lab", "down", "--name", name], timeout=60, check=True, **quiet)


def peer_s() -> float:
    """Run the script as PID 1 of namespaces of its own: when it ends, so does all that it started."""
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", str(PEER)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return float(done.stdout.split()[-1])


def main() -> None:
    """Measure both in turn, so that a busy machine slows both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    pairs = [(ours_s(f"bench-{os.getpid()}"), peer_s()) for _ in range(rounds)]
    ours, peer = (statistics.median(column) for column in zip(*pairs, strict=True))
    line = {
        "name": "lab_up",
        "unit": "s",
        "ours": round(ours, 2),
        "peer": round(peer, 2),
        "limit": None,
        "ratio": round(ours / peer, 2),
        "rounds": rounds,
    }
    print_line(line, Goal("ours", "<=", GOAL_S))


if __name__ == "__main__":
    main()
