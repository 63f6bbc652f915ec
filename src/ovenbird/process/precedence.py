"""Which processes come first when they are more than the processors: the switch, daemons, the agent, then others.

The threads of the switch that send BFD and forward are real-time ones besides: they wait for nobody's turn to end.

A kernel with autogroups (sched(7); on by default) shares processors among *sessions* first, and nice(2) counts only
within one. A daemon that detached has a session of its own, in which there is nobody that it could come before: its
niceness alone does nothing. That of the session is set here. Must never touch a session that others are in as well.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

NICENESS = -10
"""Of a daemon within its session: what OVN's and Open vSwitch's own start scripts give (ovn-ctl(8), ovs-ctl(8))."""
DAEMON = -5
"""Of a daemon's session: three times the weight of others. A late BFD packet, or vote of a database's member, is taken
for a death. More is worse where hosts share processors: at -10 whatever is no daemon stood still for seconds."""
SWITCH = -10
"""Of ovs-vswitchd's session: three times the weight of other daemons. Who computes flows must not keep the one that
forwards, and answers BFD, from a processor; its own work is bounded by the traffic."""
GATEWAY = -7
"""Of a gateway's ovn-controller: a router is carried by nobody while it computes; other hosts go on meanwhile."""
CUT_OFF = 0
"""Of the same on a gateway that was cut off: others carry what it carried, and nobody waits for it."""
AGENT = -2
"""Of the agent's session: behind its daemons, before what else a host does. It announces what moved, and starts what
died."""
REALTIME = 1
"""Of threads that must not wait: the least of real-time priorities (sched(7)); any is before all that is not."""
WATCHER = 4
"""Of who only measures: it must not take from what it measures."""
NOT_GIVEN = "precedence.not_given"

_log = logging.getLogger(__name__)


def give(pid: int, niceness: int) -> None:
    """Give a process' session a niceness (-20 to 19); not one that it shares with this process and does not lead.

    What the kernel refuses is told, and nothing else: a host that is not busy works without it.
    """
    try:
        session = os.getsid(pid)
        if session == os.getsid(0) and session != pid:
            return  # a terminal's, perhaps
        with suppress(FileNotFoundError):  # a kernel without autogroups, or a process that has just ended
            Path(f"/proc/{pid}/autogroup").write_text(f"{niceness}\n", encoding="ascii")
    except ProcessLookupError:
        return
    except OSError as error:
        _log.warning(NOT_GIVEN, extra={"pid": pid, "error": str(error)})


def hasten(pid: int, threads: frozenset[str]) -> bool:
    """Make threads of a process real-time ones, by their names without the number; what they start is none.

    Only where there is another processor: on the only one, a thread that never rests would leave others a twentieth
    (sched(7), "Limiting the CPU usage of real-time and deadline processes"). Returns whether to ask again for threads
    that are made later; what the kernel refuses is told.
    """
    if len(os.sched_getaffinity(0)) < 2:
        return False
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            name = (task / "comm").read_text(encoding="utf-8", errors="replace").strip().rstrip("0123456789")
            if name in threads and os.sched_getscheduler(int(task.name)) == os.SCHED_OTHER:
                how = os.SCHED_RR | os.SCHED_RESET_ON_FORK
                os.sched_setscheduler(int(task.name), how, os.sched_param(REALTIME))
    except (FileNotFoundError, ProcessLookupError):
        return True  # a thread that has just ended
    except OSError as error:
        _log.warning(NOT_GIVEN, extra={"pid": pid, "error": str(error)})
        return False
    return True


@contextmanager
def behind_all() -> Iterator[None]:
    """Give way to everybody for as long as this lasts: `WATCHER` for this process' session, then what it had before.

    The session may be a terminal's, whose other processes give way as well meanwhile.
    """
    file = Path("/proc/self/autogroup")
    before = None
    with suppress(OSError, ValueError, IndexError):  # a kernel without autogroups, or not ours to change
        before = int(file.read_text(encoding="ascii").split()[-1])
        file.write_text(f"{WATCHER}\n", encoding="ascii")
    try:
        yield
    finally:
        if before is not None:
            with suppress(OSError):
                file.write_text(f"{before}\n", encoding="ascii")
