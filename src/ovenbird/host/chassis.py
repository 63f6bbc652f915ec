"""Brings up and keeps one chassis: Open vSwitch, its settings and bridges, the underlay, then ovn-controller.

Order: conf.db's server, the settings, ovs-vswitchd (which then builds everything at once), addresses, and
ovn-controller once ovs-vswitchd is settled and a SB member answers. Afterwards the settings are kept: whoever changes
them, or a lost conf.db, is noticed by the change stream and put right, as an event.
"""

from __future__ import annotations

import asyncio
import logging
import time

from ovenbird.host import daemons
from ovenbird.host.hold import Hold
from ovenbird.host.link import give_to_userspace
from ovenbird.host.returning import Returning
from ovenbird.host.switch import DATABASE, TABLES, is_settled, transaction_of, view_of
from ovenbird.host.underlay import Underlay, assert_on_bridge, learn
from ovenbird.model.cluster import Cluster, Database, Host, Role
from ovenbird.model.layout import Layout
from ovenbird.ovsdb import Client, OvsdbError, Replica, Transaction
from ovenbird.plan.switch import (
    INTEGRATION_BRIDGE,
    AddBridge,
    Datapath,
    SetBridge,
    WantedPort,
    plan_switch,
    provider_bridge,
    wanted_switch,
)
from ovenbird.process import daemon
from ovenbird.process.command import run
from ovenbird.process.daemon import DaemonSpec, Running
from ovenbird.process.supervisor import Kept

SWITCH_SET = "switch.set"
SWITCH_READY = "switch.ready"
CONTROLLER_UNSEEN_SB = "ovn_controller.started_without_sb"

SB_PATIENCE_S = 30.0
"""How long ovn-controller's start waits for a SB member: started earlier, its own back-off would cost up to 8 s."""
SB_POLL_S = 0.1
SETTLE_TIMEOUT_S = 30.0
REPAIR_PAUSE_S = 1.0
"""At least this between two repairs, so that a quarrel over a setting does not become a storm."""

_log = logging.getLogger(__name__)


class Chassis:
    """One chassis host. Use `await prepare()`, then run the parts; `replica` is the live view of Open vSwitch."""

    def __init__(
        self, cluster: Cluster, host: Host, layout: Layout, datapath: Datapath, underlay: Underlay | None
    ) -> None:
        self.datapath = datapath
        self.settled = asyncio.Event()
        """Settings and links are in place."""
        self._cluster = cluster
        self._host = host
        self._underlay = underlay
        self._attached: dict[str, WantedPort] = {}
        self._absent: set[str] = set()
        self._southbound = ""
        self._has_southbound = asyncio.Event()
        self._changed = asyncio.Event()
        self.news = asyncio.Event()
        """Set whenever something in Open vSwitch changed, BFD's states included; whoever waits for it clears it."""
        self._asked = False
        """Whether what is wanted changed, and not only what is there."""
        self._configured = asyncio.Event()
        self._layout = layout
        self._hold: Hold | None = None
        self._let_go: Running | None = None
        """The ovs-vswitchd whose tunnels are open."""
        self.replica: Replica | None = None
        """Live view of Open vSwitch; None before the first connection."""
        self._database = Kept(daemons.ovs_database(layout), before_start=lambda: daemons.ensure_conf_db(layout))
        self._vswitchd = Kept(
            daemons.vswitchd(layout, datapath), before_start=self._prepare_hold, on_up=self._bring_into_service
        )
        self._controller = Kept(daemons.ovn_controller(layout, is_gateway=Role.GATEWAY in host.roles))

    @classmethod
    async def prepare(cls, cluster: Cluster, host: Host, layout: Layout) -> Chassis:
        """Look at the host and return its chassis; nothing is started. Raises `Refused` when the underlay is wrong."""
        datapath = await daemons.choose_datapath(cluster.datapath)
        underlay = None
        if datapath is Datapath.NETDEV and host.underlay_interface:
            underlay = await learn(host.underlay_interface, host.address, layout.state_dir / "underlay.json")
        return cls(cluster, host, layout, datapath, underlay)

    @property
    def specs(self) -> tuple[DaemonSpec, ...]:
        """Daemons of this chassis."""
        return (self._database.spec, self._vswitchd.spec, self._controller.spec)

    @property
    def vswitchd_spec(self) -> DaemonSpec:
        """ovs-vswitchd."""
        return self._vswitchd.spec

    @property
    def controller_spec(self) -> DaemonSpec:
        """ovn-controller."""
        return self._controller.spec

    @property
    def held(self) -> bool | None:
        """Whether ovs-vswitchd, if it runs, has not been let go yet (`ovenbird.host.hold`). None: not known."""
        running = daemon.find(self.vswitchd_spec)
        if self._let_go is not None and self._let_go == running:
            return False
        if self._hold is None or self.replica is None or not self.replica.synced:
            return None
        return not self._hold.is_serving(running)

    def port_number(self, interface: str) -> int:
        """Return the number that its bridge knows an interface by; 0 while it has none."""
        rows = self.replica.table("Interface").values() if self.replica is not None else ()
        number = next((row["ofport"] for row in rows if row["name"] == interface), None)
        return number if isinstance(number, int) and 0 < number < 0xFF00 else 0

    def port_mac(self, interface: str) -> str:
        """Return an interface's own MAC address; "" while it has none."""
        rows = self.replica.table("Interface").values() if self.replica is not None else ()
        return next((row["mac_in_use"] or "" for row in rows if row["name"] == interface), "")

    def patch_number(self, localnet: str) -> int:
        """Return the number that the provider bridge knows a logical network's patch port by; 0 while it has none."""
        return self.port_number(f"patch-{localnet}-to-{INTEGRATION_BRIDGE}")  # as ovn-controller names that end

    async def run_database(self) -> None:
        """Keep the server of conf.db."""
        await self._database.run()

    async def run_switch(self) -> None:
        """Keep the settings as wanted; ovs-vswitchd is started after the first time."""
        await self._database.up.wait()
        remotes = [self._layout.ovs_socket]
        async with Client(DATABASE, remotes, leader_only=False) as client, Replica(client, TABLES) as replica:
            await replica.ready(timeout_s=SETTLE_TIMEOUT_S)
            self.replica = replica
            self._hold = Hold(
                client,
                replica,
                self._layout,
                self.controller_spec,
                through_switch=self._underlay is not None,
                gateways=self._other_gateways,
                returning=self._returning,
            )
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep_settings(client, replica))
                group.create_task(self._watch_changes(replica))

    async def run_vswitchd(self) -> None:
        """Keep ovs-vswitchd; whenever it is back, addresses and links are asserted again."""
        await self._configured.wait()
        await self._vswitchd.run()

    async def run_controller(self) -> None:
        """Keep ovn-controller, started once it has something to work with."""
        await self.settled.wait()
        await self._await_sb()
        await self._controller.run()

    def attach(self, port: WantedPort) -> None:
        """Want a workload's port on br-int."""
        self._absent.discard(port.mark)
        if self._attached.get(port.mark) != port:
            self._attached[port.mark] = port
            self._ask()

    def has(self, port: WantedPort) -> bool:
        """Whether Open vSwitch's database has a workload's port on br-int."""
        bridge = view_of(self.replica).bridges.get(INTEGRATION_BRIDGE) if self.replica is not None else None
        there = bridge.ports.get(port.name) if bridge else None
        return there is not None and there.mark == port.mark

    def detach(self, mark: str) -> None:
        """Want the port of that mark gone."""
        self._attached.pop(mark, None)
        if mark not in self._absent:
            self._absent.add(mark)
            self._ask()

    def use_southbound(self, remote: str) -> None:
        """Want ovn-controller to get SB from there; "" is from the members."""
        if remote:
            self._has_southbound.set()
        if remote != self._southbound:
            self._southbound = remote
            self._ask()

    def _ask(self) -> None:
        self._asked = True
        self._changed.set()

    async def _watch_changes(self, replica: Replica) -> None:
        async for _ in replica.changes():
            self._changed.set()
            self.news.set()

    async def _keep_settings(self, client: Client, replica: Replica) -> None:
        while True:
            self._changed.clear()
            self._asked = False
            began = time.monotonic()
            view = view_of(replica)
            mac = self._underlay.mac if self._underlay else ""
            attached = tuple(self._attached.values())
            absent = frozenset(self._absent)
            wanted = wanted_switch(
                self._cluster,
                self._host,
                self.datapath,
                underlay_mac=mac,
                attached=attached,
                absent=absent,
                southbound=self._southbound,
            )
            steps = plan_switch(wanted, view)
            if steps:
                await client.transact(transaction_of(steps, view))
                took_ms = round((time.monotonic() - began) * 1000)
                names = [type(step).__name__ for step in steps]
                _log.info(SWITCH_SET, extra={"steps": names, "took_ms": took_ms})
                if self.settled.is_set() and any(isinstance(step, AddBridge | SetBridge) for step in steps):
                    # A bridge that was made anew lost its address.
                    await replica.wait_until(is_settled, timeout_s=SETTLE_TIMEOUT_S)
                    await self._assert_links()
            self._configured.set()
            await self._changed.wait()
            if steps and not self._asked and self.settled.is_set():
                await asyncio.sleep(REPAIR_PAUSE_S)

    @property
    def _other_gateways(self) -> dict[str, str]:
        """Return the addresses of the other gateways by name; nothing on a host that is none."""
        if Role.GATEWAY not in self._host.roles:
            return {}
        others = (host for host in self._cluster.hosts if Role.GATEWAY in host.roles and host.name != self._host.name)
        return {host.name: host.address for host in others}

    def _returning(self) -> Returning:
        return Returning(self._host, self._cluster.remotes(Database.SB), lambda: self._southbound)

    async def _prepare_hold(self) -> None:
        if self._hold is not None:
            await self._hold.prepare()

    async def _bring_into_service(self) -> None:
        """Settle an ovs-vswitchd that was started or adopted; its tunnels open last."""
        if self.replica is None or self._hold is None:
            return
        running = daemon.find(self.vswitchd_spec)
        await self.replica.wait_until(is_settled, timeout_s=SETTLE_TIMEOUT_S)
        if self._hold.is_serving(running):
            await self._assert_links()
        else:
            await self._hold.narrow()
            await self._assert_links()
            await self._hold.release(running)
            if daemon.find(self.vswitchd_spec) != running:
                return
            await self._hold.rearm(running)
        self._let_go = running
        self.news.set()

    async def _assert_links(self) -> None:
        """Bring links and addresses into place; safe to repeat."""
        began = time.monotonic()
        up = [provider_bridge(physnet) for physnet in self._host.physnets] + list(self._host.uplinks.values())
        if up:
            await run("ip", "-batch", "-", stdin="".join(f"link set {name} up\n" for name in up))
        if self.datapath is Datapath.NETDEV:
            taken = [*self._host.uplinks.values(), *([self._underlay.interface] if self._underlay else [])]
            await give_to_userspace(*taken)
        if self._underlay is not None:
            await assert_on_bridge(self._underlay)
        self.settled.set()
        _log.info(SWITCH_READY, extra={"took_ms": round((time.monotonic() - began) * 1000)})

    async def _await_sb(self) -> None:
        """Return when SB has a leader and ovn-northd has made SB_Global, or after the patience.

        ovn-controller 23.03.1 dies of SIGSEGV on a SB without that row, and its monitor then waits 10 s.
        """
        remotes = self._cluster.remotes(Database.SB)
        try:
            async with asyncio.timeout(SB_PATIENCE_S), Client(Database.SB.value, remotes) as client:
                # A host that came back while no member can be had may have been given a copy instead.
                while not (self._has_southbound.is_set() or await _is_filled(client)):
                    await asyncio.sleep(SB_POLL_S)
        except TimeoutError:
            _log.warning(CONTROLLER_UNSEEN_SB, extra={"waited_s": SB_PATIENCE_S})


async def _is_filled(client: Client) -> bool:
    txn = Transaction()
    txn.select("SB_Global", columns=["nb_cfg"])
    try:
        return bool((await client.transact(txn, timeout_s=2)).rows(0))
    except OvsdbError:
        return False
