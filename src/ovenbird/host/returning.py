"""Tells a gateway that has its flows again whether it may be let go, by SB and by who answers outside.

SB is read where ovn-controller reads it: of the members, or of this host's copy. Questions are ARP requests to the
router's own MAC address that leave by the uplink itself: Open vSwitch may be processing nothing yet, and what answers
is another host. What follows from it is `ovenbird.plan.returning`. Must never let anybody outside learn anything from
its questions, nor open or close anything itself.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from ovenbird.host.arp_probe import ArpSocket, Target
from ovenbird.host.southbound_rows import CLAIMED, KINDS, PINNED
from ovenbird.model.cluster import Database, Host
from ovenbird.ovsdb import Client, OvsdbError, Transaction
from ovenbird.plan.returning import ASK_EVERY_S, Ruling, Stake, rule
from ovenbird.plan.rows import PREEMPTS

UNASKED = "returning.not_asked"
READ_EVERY_S = 0.6
READ_TIMEOUT_S = 2.0
AT_ONCE = 50
"""Questions between two pauses; with more routers each is asked less often."""
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "Port_Binding": ("logical_port", "type", "datapath", "options", "tag", "external_ids", "mac", "ha_chassis_group"),
    "HA_Chassis_Group": ("ha_chassis",),
    "HA_Chassis": ("chassis", "priority"),
    "Chassis": ("name",),
}
Rows = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Table -> UUID -> row."""

_log = logging.getLogger(__name__)


class Returning:
    """One host's questions: `run` asks until cancelled, `ruling` is what follows from the answers so far."""

    def __init__(self, host: Host, members: Sequence[str], copy: Callable[[], str]) -> None:
        """`members`: SB's remotes; `copy`: that of this host's copy while it is in use, else ""."""
        self._host = host
        self._members = tuple(members)
        self._copy = copy
        self._stakes: frozenset[Stake] | None = None
        self._members_since_s: float | None = None
        self._asked_s: dict[Stake, float] = {}
        self._heard_s: dict[Stake, float] = {}
        self._told = ""
        self.waited = False
        """Whether this host had to wait, says who asked."""

    @property
    def ruling(self) -> Ruling:
        """What is known now."""
        if self._stakes is None:
            return Ruling(waits=True, why="SB was not read yet")
        known = (self._stakes, self._asked_s, self._heard_s, self._members_since_s, time.monotonic())
        return rule(*known, waited=self.waited)

    @property
    def has_read(self) -> bool:
        """Whether SB was read at all."""
        return self._stakes is not None

    async def run(self) -> None:
        """Read and ask until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read())
            group.create_task(self._ask())

    async def _read(self) -> None:
        while True:
            copy = self._copy()
            self._members_since_s = None
            remotes = [copy] if copy else self._members
            async with Client(Database.SB.value, remotes, leader_only=False) as client:
                while self._copy() == copy:
                    with suppress(OvsdbError):
                        found = stakes(self._host.name, await _rows(client))
                        self._stakes = frozenset(one for one in found if one.alone or one.physnet in self._host.uplinks)
                        if not copy and self._members_since_s is None:
                            self._members_since_s = time.monotonic()
                    await asyncio.sleep(READ_EVERY_S if self._stakes is not None else ASK_EVERY_S)

    async def _ask(self) -> None:
        sockets: dict[str, ArpSocket] = {}
        turn = 0
        try:
            while True:
                wanted = sorted(self._stakes or (), key=lambda stake: stake.name)
                rounds = max(1, math.ceil(len(wanted) / AT_ONCE))
                turn = (turn + 1) % rounds
                for physnet in {stake.physnet for stake in wanted if stake.address} & self._host.uplinks.keys():
                    self._exchange(sockets, physnet, [one for one in wanted[turn::rounds] if one.physnet == physnet])
                await asyncio.sleep(ASK_EVERY_S)
        finally:
            for each in sockets.values():
                each.close()

    def _exchange(self, sockets: dict[str, ArpSocket], physnet: str, those: Sequence[Stake]) -> None:
        """Note who has answered since the last call, and ask those."""
        now_s = time.monotonic()
        uplink = self._host.uplinks[physnet]
        try:
            if physnet not in sockets:
                sockets[physnet] = ArpSocket(uplink)
            answers = {(target, mac.hex(":")) for target, mac in sockets[physnet].answers()}
            for stake in self._stakes or ():
                if stake.physnet == physnet and (Target(stake.address, stake.vlan), stake.mac) in answers:
                    self._heard_s[stake] = now_s
            for stake in those:
                self._asked_s.setdefault(stake, now_s)
                mac = bytes.fromhex(stake.mac.replace(":", ""))
                sockets[physnet].send_self(Target(stake.address, stake.vlan), mac)
        except OSError as error:  # the uplink is gone, or down: nobody is heard, as by routers here
            if physnet in sockets:
                sockets.pop(physnet).close()
            if error.strerror != self._told:
                self._told = str(error.strerror)
                _log.info(UNASKED, extra={"uplink": uplink, "error": self._told})


async def _rows(client: Client) -> Rows:
    txn = Transaction()
    kinds: list[tuple[str, str | None]] = [("Port_Binding", kind) for kind in KINDS]
    kinds += [(table, None) for table in COLUMNS if table != "Port_Binding"]
    for table, kind in kinds:
        txn.select(table, where=[("type", "==", kind)] if kind else (), columns=COLUMNS[table])
    result = await client.transact(txn, timeout_s=READ_TIMEOUT_S)
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for at, (table, _) in enumerate(kinds):
        found.setdefault(table, {}).update((row.uuid, row) for row in result.rows(at))
    return found


def stakes(chassis: str, rows: Rows) -> frozenset[Stake]:
    """Return the legs that a chassis may carry, of the rows of SB (ovn-sb(5)).

    A gateway router has one chassis; of it matters only that nobody else could carry it.
    """
    names = {uuid: str(row["name"]) for uuid, row in rows["Chassis"].items()}
    wires = {row["datapath"]: row for row in rows["Port_Binding"].values() if row["type"] == "localnet"}
    peers = {row["options"].get("peer"): row for row in rows["Port_Binding"].values() if row["type"] == "patch"}
    found: set[Stake] = set()
    for row in rows["Port_Binding"].values():
        name, options = str(row["logical_port"]), row["options"]
        if row["type"] == PINNED and options.get("l3gateway-chassis") == chassis:
            found.add(Stake(name=name, address="", mac="", physnet="", alone=True))
        group = rows["HA_Chassis_Group"].get(row["ha_chassis_group"]) if row["type"] == CLAIMED else None
        if group is None:
            continue
        members = [rows["HA_Chassis"][uuid] for uuid in group["ha_chassis"] if uuid in rows["HA_Chassis"]]
        falling = sorted(members, key=lambda member: -int(member["priority"]))
        order = [names[member["chassis"]] for member in falling if member["chassis"] in names]
        peer = peers.get(options.get("distributed-port"))
        wire = wires.get(peer["datapath"]) if peer is not None else None
        address = _address(row["mac"])
        if chassis in order and peer is not None and wire is not None and address is not None:
            mac, ip = address
            tag = wire["tag"]
            stake = Stake(
                name=name,
                address=ip,
                mac=mac,
                physnet=str(wire["options"].get("network_name", "")),
                vlan=tag if isinstance(tag, int) else 0,
                first=order[0] == chassis,
                alone=len(order) == 1,
                preempts=peer["external_ids"].get(PREEMPTS) == "true",
            )
            found.add(stake)
    return frozenset(found)


def _address(macs: Sequence[str]) -> tuple[str, str] | None:
    """Return the MAC and first IPv4 address of "MAC ADDRESS/LENGTH..."; None if there is none."""
    words = next(iter(macs), "").split()
    addresses = [word.partition("/")[0] for word in words[1:] if "." in word]
    return (words[0].lower(), addresses[0]) if addresses else None
