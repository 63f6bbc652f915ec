"""Starts the namespaces of a node: network, mount, UTS, IPC and PID, with a tiny init of ours as PID 1.

The init stops at a gate right after the fork: it tells its pid and goes on only when it is told to. The caller writes
that pid to the state file in between. If the caller dies first, the gate's pipe closes and the init leaves by itself.
This module must never start a process that could outlive both its maker and the state file's knowledge of it.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import ovenbird
from ovenbird.lab.command import run
from ovenbird.lab.process import Process
from ovenbird.model.errors import Timeout, Unavailable

_INIT = Path(__file__).with_name("init.sh")
_UNSHARE = ("unshare", "--net", "--mount", "--uts", "--ipc", "--pid")
# The shell stays outside of the new PID namespace; its first child is PID 1 of it. The shell leaves at once,
# so that no process of ours stands between the init and the host.
_HAND_OVER = 'exec 3<&0; sh "$@" <&3 3<&- &'
_BOOT_TIMEOUT_S = 20.0

PRIVATE_ETC = ("etc/ovenbird", "etc/openvswitch", "etc/ovn")
"""Directories of which a node must not see the host's own: those may describe a real cluster."""

NODE_DIRECTORIES = (
    "stage",
    "etc.work",
    "var/log/ovn",
    "var/log/openvswitch",
    "var/log/ovenbird",
    "var/lib/ovn",
    "var/lib/openvswitch",
    "var/lib/ovenbird",
    "var/lib/misc",
)
"""Directories of a node's disk; the init mounts them over the host's."""

VOLUME = "volume.img"
"""A file system of a node's own for its /var/lib, in a sparse file on its disk."""
VOLUME_BYTES = 256 * 1024 * 1024


def start_init(name: str, directory: Path, *, record: Callable[[Process], None]) -> Process:
    """Boot a node whose disk is `directory`; `record` is called with its init before that does anything.

    Returns when the node's file system is built. Raises `Unavailable` with the init's own words if it fails.
    """
    _make_disk(directory)
    _await_detached(directory / VOLUME)
    log = directory / "init.log"
    with log.open("wb") as errors:
        try:
            process = subprocess.Popen(
                [*_UNSHARE, "sh", "-c", _HAND_OVER, "lab", str(_INIT), name, str(directory), *_visible_paths()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd="/",
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
                start_new_session=True,
            )
        except OSError as error:
            raise Unavailable(f"cannot start unshare: {error.strerror}", subject=name) from error
    deadline = time.monotonic() + _BOOT_TIMEOUT_S
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        first = _read_line(process.stdout, deadline)
        init = Process.find(int(first)) if first.isdigit() else None
        if init is None:
            raise _failed(name, log)
        record(init)
        process.stdin.write(b"go\n")
        process.stdin.flush()
        if _read_line(process.stdout, deadline) != "ready":
            if time.monotonic() >= deadline:
                raise Timeout(f"node {name} did not boot in {_BOOT_TIMEOUT_S:g} s", subject=name, hint=f"see {log}")
            raise _failed(name, log)
    return init


def make_volume(directory: Path) -> bool:
    """Give a node that never was on a small /var/lib of its own, so that it can be full; False if that cannot be.

    No journal: a lab's power cut ends processes, not the kernel, so nothing is ever lost in the page cache; and the
    databases' fsync costs what it costs on the host.
    """
    volume = directory / VOLUME
    used = any((directory / "var/lib").glob("*/*"))
    if volume.exists() or used or shutil.which("mkfs.ext4") is None:
        return volume.exists()
    directory.mkdir(parents=True, exist_ok=True)
    half = volume.with_suffix(".new")
    with half.open("wb") as file:
        file.truncate(VOLUME_BYTES)
    words = ["mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-m", "0", "-E", "lazy_itable_init=1,nodiscard", str(half)]
    run(words, timeout_s=_BOOT_TIMEOUT_S).checked(subject=directory.name)
    # Whether loop devices work here is tried once, now: later on, a volume that cannot be mounted must stop the boot,
    # or the node would come up without its databases.
    trial = run(["losetup", "--find", "--show", str(half)], timeout_s=_BOOT_TIMEOUT_S)
    if not trial.ok:
        half.unlink()
        return False
    run(["losetup", "--detach", trial.stdout.strip()], timeout_s=_BOOT_TIMEOUT_S).checked(subject=directory.name)
    half.rename(volume)
    return True


def _await_detached(volume: Path) -> None:
    """Wait until no loop device has the volume any more: the kernel unmounts a dead node's file systems a moment later.

    Mounted twice, it would be destroyed. Raises `Timeout` when something still holds it.
    """
    deadline = time.monotonic() + _BOOT_TIMEOUT_S
    while holders := [path for path in Path("/sys/block").glob("loop*/loop/backing_file") if _holds(path, volume)]:
        if time.monotonic() > deadline:
            raise Timeout(
                f"{volume} is still in use", subject=volume.parent.name, evidence=", ".join(map(str, holders))
            )
        time.sleep(0.02)


def _holds(backing_file: Path, volume: Path) -> bool:
    try:
        return backing_file.read_text(encoding="utf-8", errors="replace").rstrip("\n") == str(volume.resolve())
    except OSError:  # detached in this very moment
        return False


def _make_disk(directory: Path) -> None:
    for part in NODE_DIRECTORIES:
        (directory / part).mkdir(parents=True, exist_ok=True)
    for part in PRIVATE_ETC:
        (directory / part).mkdir(parents=True, exist_ok=True)
        # Hides the host's directory of that name (overlayfs: "opaque"). A file system that cannot store the mark cannot
        # be an overlay's upper layer either, and the init then copies what the node does not have.
        with contextlib.suppress(OSError):
            os.setxattr(directory / part, "trusted.overlay.opaque", b"y")


def _failed(name: str, log: Path) -> Unavailable:
    words = log.read_text(encoding="utf-8", errors="replace").strip()
    return Unavailable(
        f"node {name} cannot boot",
        code="boot_failed",
        subject=name,
        evidence=words,
        hint="namespaces and mounts need root",
    )


def _read_line(pipe: IO[bytes], deadline: float) -> str:
    """Read one line from a pipe; empty at its end or at the deadline."""
    line = b""
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
        byte = os.read(pipe.fileno(), 1) if ready else b""
        if not byte:
            return ""
        line += byte
    return line.decode().strip()


def _visible_paths() -> list[str]:
    """Return what the node must see even though it lies below a directory that is private to the node: our own code."""
    code = {Path(sys.prefix), Path(sys.base_prefix), Path(ovenbird.__file__).resolve().parent.parent}
    hidden = (Path("/tmp"), Path("/run"), Path("/var/lib"))
    covered = [path for path in code if any(path.is_relative_to(top) and path != top for top in hidden)]
    return sorted(
        str(path) for path in covered if not any(path != other and path.is_relative_to(other) for other in covered)
    )
