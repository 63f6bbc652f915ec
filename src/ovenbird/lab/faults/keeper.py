"""The keeper of a lab: one detached process that heals faults at their time limit, even when nobody else is left.

It also does what a fault has to do while it lasts (a link that flaps, a daemon that is killed each time it comes back,
frames that are held up). It is started by the first fault that needs it, is in the lab's state file with pid and start
time, and ends by itself when no active fault needs it. This module must never act on a fault that is not on record.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ovenbird.lab.process import Process
from ovenbird.lab.state import StateFile
from ovenbird.model.errors import Refused, Unavailable

START_TIMEOUT_S = 30.0
_POLL_S = 0.05
_RETRY_S = 2.0
# The shell leaves at once: nobody has to reap the keeper, and it outlives whoever asked for it.
_HAND_OVER = '"$@" & :'


def now_s() -> float:
    """Return seconds since the host's boot: the clock of limits, which nobody can set."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def ensure(file: StateFile) -> None:
    """Start the lab's keeper if it does not run, and return when it does; the caller holds the lab.

    The keeper needs the lab's lock to end itself, so one that runs now sees what the caller records.
    Raises `Unavailable` with the keeper's own words.
    """
    keeper = file.require().keeper
    if keeper is not None and keeper.is_alive:
        return
    log = file.directory / "keeper.log"
    with log.open("ab") as errors:
        process = subprocess.Popen(
            ["sh", "-c", _HAND_OVER, "sh", sys.executable, "-m", __name__, file.name, str(file.root)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd="/",
            start_new_session=True,
        )
    with process:
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], START_TIMEOUT_S)
        line = process.stdout.readline() if ready else b""
    found = Process.find(int(line)) if line.strip().isdigit() else None
    if found is None:
        words = log.read_text(encoding="utf-8", errors="replace").strip()[-2000:]
        raise Unavailable("the keeper of the lab's faults does not start", subject=file.name, evidence=words)
    with file.change() as state:
        state.keeper = found


class Keeper:
    """The loop of the process."""

    def __init__(self, file: StateFile, me: Process) -> None:
        self._file = file
        self._me = me
        self._seen: tuple[int, int] = (0, 0)
        self._due_s: float | None = None
        self._retry: dict[int, float] = {}
        self._acting: dict[int, threading.Event] = {}

    def run(self) -> None:
        """Keep the lab's faults until none needs it, or the lab is gone, or another keeper is on record."""
        with self._file.locked():  # whoever started us has recorded us, and its fault, when it lets go
            pass
        while self._step():
            time.sleep(_POLL_S)
        for over in self._acting.values():
            over.set()

    def _step(self) -> bool:
        try:
            stat = self._file.path.stat()
        except FileNotFoundError:
            return False
        stamp = (stat.st_ino, stat.st_mtime_ns)
        if stamp == self._seen and (self._due_s is None or now_s() < self._due_s):
            return True
        self._seen = stamp
        state = self._file.read()
        if state is None or state.keeper != self._me:
            return False
        mine = [item for item in state.faults if needs_keeper(item)]
        if not mine:
            return not self._leave()
        self._attend(mine)
        limits = [max(item["heal_at_s"], self._retry.get(item["id"], 0.0)) for item in mine if item.get("heal_at_s")]
        self._due_s = min(limits, default=None)
        return True

    def _attend(self, records: list[dict[str, Any]]) -> None:
        present = {item["id"] for item in records}
        for number in [number for number in self._acting if number not in present]:
            self._acting.pop(number).set()
        for item in records:
            number, limit_s = item["id"], item.get("heal_at_s")
            if limit_s is not None and now_s() >= max(limit_s, self._retry.get(number, 0.0)):
                self._heal(number)
            elif item.get("kept") and number not in self._acting:
                self._acting[number] = threading.Event()
                threading.Thread(target=self._act, args=(number, self._acting[number]), daemon=True).start()

    def _heal(self, number: int) -> None:
        fault = find(self._file, number)
        if fault is None:
            return
        try:
            fault.heal()
        except Exception as error:  # a supervisor: one fault that cannot be healed must not keep the others broken
            self._retry[number] = now_s() + _RETRY_S
            log(f"cannot heal yet: {fault.describe()}: {error!r} {getattr(error, 'evidence', '')}")
        else:
            log(f"healed at its limit: {fault.describe()}")

    def _act(self, number: int, over: threading.Event) -> None:
        # A lab of its own: a state file's lock belongs to one thread.
        fault = find(StateFile(self._file.name, root=self._file.root), number)
        if fault is None:
            return
        try:
            fault.keep(over)
        except Exception as error:  # as above; the fault itself stays on record, with its limit
            log(f"{fault.describe()}: {error!r} {getattr(error, 'evidence', '')}")

    def _leave(self) -> bool:
        """Take ourselves off the record, unless a fault that needs us has come, or the lab is busy."""
        try:
            with self._file.locked():
                state = self._file.read()
                if state is not None and any(needs_keeper(item) for item in state.faults):
                    return False
                if state is not None and state.keeper == self._me:
                    with self._file.change() as changed:
                        changed.keeper = None
        except Refused:
            return False
        return True


def needs_keeper(item: Mapping[str, Any]) -> bool:
    """Whether a recorded fault has a limit, or something to do while it lasts."""
    return item.get("heal_at_s") is not None or bool(item.get("kept"))


def find(file: StateFile, number: int) -> Any:
    """Return a recorded fault by number, or None."""
    from ovenbird.lab.faults import active  # noqa: PLC0415 - the package imports this module
    from ovenbird.lab.lab import Lab  # noqa: PLC0415

    return next((fault for fault in active(Lab.open(file.name, root=file.root)) if fault.number == number), None)


def log(line: str) -> None:
    """Write a line to the lab's keeper.log."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stderr.flush()


def main(name: str, root: str) -> None:
    """Run as the keeper of a lab."""
    import ovenbird.lab.faults  # noqa: F401, PLC0415 - now, not in the middle of a fault

    me = Process.find(os.getpid())
    assert me is not None
    sys.stdout.write(f"{me.pid}\n")
    sys.stdout.flush()
    with Path(os.devnull).open("wb") as nothing:
        os.dup2(nothing.fileno(), 1)
    Keeper(StateFile(name, root=Path(root)), me).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
