"""The three daemons of a chassis host."""

from __future__ import annotations

from pathlib import Path

from ovenbird.model.errors import OvenbirdError
from ovenbird.model.layout import Layout
from ovenbird.plan.switch import Datapath
from ovenbird.process import allocator, precedence
from ovenbird.process.command import run
from ovenbird.process.daemon import DaemonSpec

VSWITCH_SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
REALTIME_THREADS = {
    Datapath.SYSTEM: frozenset({"monitor"}),
    Datapath.NETDEV: frozenset({"monitor", "ovs-vswitchd"}),
}
"""Threads of ovs-vswitchd that wait for nobody: the one that sends BFD and, where the datapath is in userspace, the
main one, which forwards. Where the kernel forwards, the main one would keep it from a processor instead (ksoftirqd is
an ordinary thread). Nor those whose work grows with what workloads send (handler, revalidator) or never ends (pmd)."""
KERNEL_MODULE = Path("/sys/module/openvswitch")


def ovs_database(layout: Layout) -> DaemonSpec:
    """Return the server of Open vSwitch's own database. Its control socket keeps the name that ovs-appctl looks for."""
    return DaemonSpec(
        name="ovsdb-server",
        argv=("ovsdb-server", str(layout.conf_db), f"--remote=punix:{layout.ovs_run / 'db.sock'}"),
        pidfile=layout.ovs_run / "ovsdb-server.pid",
        control=str(layout.ovs_run / "ovsdb-server.{pid}.ctl"),
        log=layout.ovs_log / "ovsdb-server.log",
        env=_environment(layout),
    )


def vswitchd(layout: Layout, datapath: Datapath) -> DaemonSpec:
    """Return ovs-vswitchd."""
    options = ("--disable-system",) if datapath is Datapath.NETDEV else ()
    return DaemonSpec(
        name="ovs-vswitchd",
        argv=("ovs-vswitchd", *options, layout.ovs_socket),
        pidfile=layout.ovs_run / "ovs-vswitchd.pid",
        control=str(layout.ovs_run / "ovs-vswitchd.{pid}.ctl"),
        log=layout.ovs_log / "ovs-vswitchd.log",
        env=_environment(layout),
        session_niceness=precedence.SWITCH,
        realtime_threads=REALTIME_THREADS[datapath],
    )


def ovn_controller(layout: Layout, *, is_gateway: bool) -> DaemonSpec:
    """Return ovn-controller. A plain `exit` would delete the chassis and its tunnels; `--restart` keeps them."""
    return DaemonSpec(
        name="ovn-controller",
        argv=("ovn-controller", layout.ovs_socket),
        pidfile=layout.ovn_run / "ovn-controller.pid",
        control=str(layout.ovn_run / "ovn-controller.{pid}.ctl"),
        log=layout.ovn_log / "ovn-controller.log",
        env={**_environment(layout), **allocator.environment()},
        exit_command=("exit", "--restart"),
        session_niceness=precedence.GATEWAY if is_gateway else precedence.DAEMON,
    )


def _environment(layout: Layout) -> dict[str, str]:
    return {"OVS_RUNDIR": str(layout.ovs_run), "OVN_RUNDIR": str(layout.ovn_run)}


async def ensure_conf_db(layout: Layout) -> None:
    """Make Open vSwitch's own database if there is none."""
    if not layout.conf_db.exists():
        layout.conf_db.parent.mkdir(parents=True, exist_ok=True)
        await run("ovsdb-tool", "create", str(layout.conf_db), VSWITCH_SCHEMA)


async def choose_datapath(wish: str) -> Datapath:
    """Return the datapath to use: "system" and "netdev" as told; "auto" takes the kernel's if it has one."""
    if wish != "auto":
        return Datapath(wish)
    if KERNEL_MODULE.exists():
        return Datapath.SYSTEM
    try:
        await run("modprobe", "openvswitch", timeout_s=5)
    except OvenbirdError:
        return Datapath.NETDEV
    return Datapath.SYSTEM
