"""What a figure depends on besides our code: the versions of everything that took part, and the machine.

What cannot be asked is "unknown". This module must never fail a run.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path

from ovenbird import __version__

UNKNOWN = "unknown"
ASK_TIMEOUT_S = 5.0
_VERSION = re.compile(r"\d+\.\d+[\w.+~-]*")


def versions() -> dict[str, str]:
    """Return the versions of this machine's programs; a lab runs the same."""
    return {
        "ovenbird": __version__,
        "ovn": _asked("ovn-nbctl", "--version"),
        "openvswitch": _asked("ovs-vsctl", "--version"),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def machine() -> dict[str, str]:
    """Return this machine's processors and memory."""
    return {
        "processors": str(len(os.sched_getaffinity(0))),
        "processor": _field("/proc/cpuinfo", "model name"),
        "memory": _memory(_field("/proc/meminfo", "MemTotal")),
        "system": _release(),
    }


def _asked(*argv: str) -> str:
    try:
        answer = subprocess.run(argv, capture_output=True, text=True, timeout=ASK_TIMEOUT_S, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return UNKNOWN
    found = _VERSION.search(answer.partition("\n")[0])
    return found[0] if found else UNKNOWN


def _field(path: str, key: str) -> str:
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return UNKNOWN
    found = re.search(rf"^{key}\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else UNKNOWN


def _memory(total: str) -> str:
    number = total.partition(" ")[0]
    return f"{int(number) / 1024**2:.1f} GiB" if number.isdigit() else UNKNOWN


def _release() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", UNKNOWN)
    except OSError:
        return UNKNOWN
