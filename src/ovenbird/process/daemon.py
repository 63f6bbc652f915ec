"""One daemon of the OVS family: how to start it, recognise it, ask it and stop it.

Daemons are detached and watched by their own `--monitor` (ovs daemon.man: it restarts after SIGSEGV and the like, but
not after SIGKILL), so they outlive the agent. A daemon is recognised by its pid file *and* by what /proc says about
that pid: a pid file alone may name a stranger after a reboot. Must never decide whether a daemon should run: see
`supervisor.py`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL, SIGTERM

from ovenbird.model.errors import Timeout
from ovenbird.ovsdb import OvsdbError, unixctl
from ovenbird.process import precedence
from ovenbird.process.command import run

_MOST_BYTES = 64 * 1024
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonSpec:
    """What to run. `argv` is without the options that OVS's daemons get (see `command_line`)."""

    name: str
    argv: tuple[str, ...]
    pidfile: Path
    control: str
    """Control socket; "{pid}" stands for the pid, where the daemon chooses the name itself."""
    log: Path
    env: Mapping[str, str] = field(default_factory=dict)
    exit_command: tuple[str, ...] = ("exit",)
    """Control command that ends it without undoing its work."""
    niceness: int = precedence.NICENESS
    """nice(2), which counts within its session."""
    session_niceness: int = precedence.DAEMON
    """Of its session, which counts among sessions."""
    realtime_threads: frozenset[str] = frozenset()
    """Names, without their number, of threads that wait for no other process (`precedence.hasten`)."""
    is_ovs: bool = True
    """Whether it takes the options, and speaks the control protocol, of Open vSwitch's daemons."""

    @property
    def program(self) -> str:
        """Program name as it appears in /proc."""
        return Path(self.argv[0]).name

    def command_line(self) -> tuple[str, ...]:
        """Return the complete command line."""
        if not self.is_ovs:
            return self.argv
        control = () if "{pid}" in self.control else (f"--unixctl={self.control}",)
        return (
            *self.argv,
            "--no-chdir",
            "--detach",
            "--monitor",
            f"--pidfile={self.pidfile}",
            f"--log-file={self.log}",
            "-vconsole:emer",
            "-vsyslog:off",
            *control,
        )


@dataclass(frozen=True, slots=True)
class Running:
    """A live process of a daemon. `started` (clock ticks since boot) tells it from a later process of the same pid."""

    pid: int
    started: int
    parent: int


def find(spec: DaemonSpec) -> Running | None:
    """Return the daemon's process if the pid file names a live process that was started with this very pid file."""
    try:
        pid = int(small_file(spec.pidfile))
        words = small_file(f"/proc/{pid}/cmdline").split("\0")
        running = process_of(pid)
    except (OSError, ValueError):
        return None
    if running is None or Path(words[0]).name != spec.program:
        return None
    return running if any(str(spec.pidfile) in word for word in words) else None


def process_of(pid: int) -> Running | None:
    """Return the process of a pid, or None when it is gone or a zombie (proc(5), /proc/pid/stat fields 3, 4 and 22)."""
    try:
        fields = small_file(f"/proc/{pid}/stat").rpartition(")")[2].split()
    except OSError:
        return None
    if not fields or fields[0] in "ZX":
        return None
    return Running(pid, int(fields[19]), int(fields[1]))


def small_file(path: str | Path) -> str:
    """Return a file of /proc or the like: by system calls alone, since it is done all the time. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, _MOST_BYTES).decode(errors="replace")
    finally:
        os.close(fd)


async def gone(running: Running) -> None:
    """Return as soon as the process has ended."""
    try:
        fd = os.pidfd_open(running.pid)
    except ProcessLookupError:
        return
    try:
        now = process_of(running.pid)
        if now is None or now.started != running.started:
            return
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(fd, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(fd)
    finally:
        os.close(fd)


async def start(spec: DaemonSpec) -> Running:
    """Start the daemon and return when it has finished its own start-up. Raises `CommandFailed` or `Timeout`."""
    for path in (spec.pidfile, spec.log, Path(spec.control)):
        path.parent.mkdir(parents=True, exist_ok=True)
    nice = ("nice", "-n", str(spec.niceness)) if spec.niceness else ()
    await run(*nice, *spec.command_line(), timeout_s=START_TIMEOUT_S, env=spec.env)
    async with asyncio.timeout(START_TIMEOUT_S):
        while (running := find(spec)) is None:
            await asyncio.sleep(0.02)
    return running


async def ask(spec: DaemonSpec, command: str, *args: str, timeout_s: float = 2.0) -> str:
    """Send a control command and return the answer. Raises `OvsdbError` or `OSError` when it cannot be asked."""
    control = spec.control
    if "{pid}" in control:
        running = find(spec)
        control = control.replace("{pid}", str(running.pid) if running else "none")
    return await unixctl(control, command, *args, timeout_s=timeout_s)


async def answers(spec: DaemonSpec) -> bool:
    """Whether the daemon's main loop turns: its control socket answers."""
    try:
        await ask(spec, "version")
    except (OvsdbError, OSError):
        return False
    return True


async def kill(spec: DaemonSpec) -> None:
    """End the daemon and its monitor at once: for one whose next step would do harm. Raises `Timeout`."""
    running = find(spec)
    if running is None:
        return
    with suppress(ProcessLookupError):
        os.kill(running.pid, SIGKILL)
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await gone(running)
    except TimeoutError:
        raise Timeout(f"{spec.name} (pid {running.pid}) does not die", subject=spec.name) from None


async def stop(spec: DaemonSpec, *, timeout_s: float = STOP_TIMEOUT_S) -> None:
    """End the daemon in an orderly way (control command, then SIGTERM) and wait until it is gone. Raises `Timeout`."""
    running = find(spec)
    if running is None:
        return
    is_asked = False
    if spec.is_ovs:
        with suppress(OvsdbError, OSError):
            await ask(spec, *spec.exit_command)
            is_asked = True
    if not is_asked:
        with suppress(ProcessLookupError):
            os.kill(running.pid, SIGTERM)
    try:
        async with asyncio.timeout(timeout_s):
            await gone(running)
    except TimeoutError:
        raise Timeout(f"{spec.name} (pid {running.pid}) did not end in {timeout_s:g} s", subject=spec.name) from None
