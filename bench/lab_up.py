"""How long a lab of 3 central, 2 gateway and 2 compute nodes takes to be really ready.

Ready means what `ovenbird status` calls healthy: nine database members with their leaders, one active northd, an
elected controller, four registered chassis. The peer is `bench/serial_lab.sh`: the same daemons on the same namespaces,
one after the other with the stock tools; ready when the chassis have their tunnels (no agents, no controller).

    .venv/bin/python bench/lab_up.py [--rounds N]

Prints one JSON line; seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

GOAL_S = 15.0
HERE = Path(__file__).parent
SCHEMA = HERE.parent / "src" / "ovenbird" / "ovenbird.ovsschema"
OVENBIRD = str(Path(sys.executable).with_name("ovenbird"))


def ours_s(name: str) -> float:
    """Bring one lab up and take it away; return the time to ready."""
    began = time.perf_counter()
    try:
        subprocess.run([OVENBIRD, "lab", "up", "--name", name], check=True, capture_output=True, timeout=120)
        return time.perf_counter() - began
    finally:
        subprocess.run([OVENBIRD, "lab", "down", "--name", name], check=True, capture_output=True, timeout=60)


def peer_s() -> float:
    """Run the serial script, which takes itself away; return the time that it measured."""
    script = ["sh", str(HERE / "serial_lab.sh"), str(SCHEMA)]
    return float(subprocess.run(script, check=True, capture_output=True, text=True, timeout=120).stdout)


def main() -> None:
    """Measure both in turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    pairs = [(ours_s(f"bench{os.getpid() % 100000}"), peer_s()) for _ in range(rounds)]
    ours = statistics.median(pair[0] for pair in pairs)
    peer = statistics.median(pair[1] for pair in pairs)
    line = {
        "name": "lab_up",
        "unit": "s",
        "ours": round(ours, 2),
        "peer": round(peer, 2),
        "limit": None,
        "ratio": round(ours / peer, 2),
        "worst": round(max(pair[0] for pair in pairs), 2),
        "rounds": rounds,
        "goal": f"<= {GOAL_S:g} s",
        "reached": ours <= GOAL_S,
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
