"""One read of what SB says of chassis and gateways: a single transaction of selects, asked live. Nothing is kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from ovenbird.controller.sb_watch import CARRIERS
from ovenbird.model.cluster import Database
from ovenbird.ovsdb import Client, NotConnected, Row, Transaction
from ovenbird.plan.rows import VACANT

READ_TIMEOUT_S = 2.0
CONNECT_TIMEOUT_S = 1.0
NAME_HINT = "chassis-name"
"""external_ids key of an HA_Chassis whose chassis has not registered; northd sets it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """A port of a router's leg: chassisredirect, or a gateway router's."""

    active: str = ""
    """Chassis that has claimed it."""
    gateways: tuple[tuple[str, int], ...] = ()
    """(chassis, priority), greatest first."""
    peers: frozenset[str] = frozenset()
    """Chassis with workloads behind it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Southbound:
    """What SB says."""

    chassis: frozenset[str] = frozenset()
    """Chassis with both of their records: one without the other is an orphan, and its host is not served."""
    orphans: frozenset[str] = frozenset()
    """Those with a Chassis record alone."""
    nb_cfg: Mapping[str, int] = field(default_factory=dict)
    """Chassis -> nb_cfg that it has confirmed."""
    bindings: Mapping[str, Binding] = field(default_factory=dict)
    """By logical port; see `plan.legs.Leg`."""


async def read_southbound(client: Client, answering: Sequence[str]) -> Southbound:
    """Read it from a member that is known to answer: over `client` if it is connected to such a one, else afresh.

    A connection to a member that has just been cut off hangs until its probes fail. Raises OvsdbError when SB cannot
    be asked within `READ_TIMEOUT_S`.
    """
    if not answering:
        raise NotConnected("no member answers and is in contact with a majority")
    if client.remote in answering:
        return await _read(client)
    async with Client(Database.SB.value, answering, leader_only=False) as fresh:
        await fresh.wait_connected(timeout_s=CONNECT_TIMEOUT_S)
        return await _read(fresh)


async def _read(client: Client) -> Southbound:
    txn = Transaction()
    txn.select("Chassis", columns=["name"])
    txn.select("Chassis_Private", columns=["name", "nb_cfg"])
    txn.select("HA_Chassis_Group", columns=["ha_chassis", "ref_chassis"])
    txn.select("HA_Chassis", columns=["chassis", "priority", "external_ids"])
    for kind in CARRIERS:
        txn.select(
            "Port_Binding", where=[("type", "==", kind)], columns=["logical_port", "chassis", "ha_chassis_group"]
        )
    result = await client.transact(txn, timeout_s=READ_TIMEOUT_S)
    chassis, private, groups, members, *bindings = (result.rows(index) for index in range(4 + len(CARRIERS)))
    return southbound(chassis, private, chain.from_iterable(bindings), groups, members)


def southbound(
    chassis: Iterable[Row],
    private: Iterable[Row],
    bindings: Iterable[Row],
    groups: Iterable[Row],
    members: Iterable[Row],
) -> Southbound:
    """Return the rows as values."""
    names = {row.uuid: row["name"] for row in chassis}
    by_member = {row.uuid: _gateway(row, names) for row in members}
    by_group = {row.uuid: row for row in groups}
    private_by_name = {row["name"]: row["nb_cfg"] for row in private}
    return Southbound(
        chassis=frozenset(names.values()) & private_by_name.keys(),
        orphans=frozenset(names.values()) - private_by_name.keys(),
        nb_cfg={name: private_by_name[name] for name in names.values() if name in private_by_name},
        bindings={
            row["logical_port"]: _binding(row, by_group.get(row["ha_chassis_group"] or ""), by_member, names)
            for row in bindings
        },
    )


def _gateway(row: Row, names: Mapping[str, str]) -> tuple[str, int]:
    name = names.get(row["chassis"] or "") or row["external_ids"].get(NAME_HINT, "")
    return name, row["priority"]


def _binding(
    row: Row, group: Row | None, by_member: Mapping[str, tuple[str, int]], names: Mapping[str, str]
) -> Binding:
    active = names.get(row["chassis"] or "", "")
    if group is None:
        return Binding(active=active)
    members = [by_member[uuid] for uuid in _set(group["ha_chassis"]) if uuid in by_member]
    gateways = [member for member in members if member[0] != VACANT]
    return Binding(
        active=active,
        gateways=tuple(sorted(gateways, key=lambda gateway: (-gateway[1], gateway[0]))),
        peers=frozenset(names[uuid] for uuid in _set(group["ref_chassis"]) if uuid in names),
    )


def _set(value: Any) -> Iterable[str]:
    return value if isinstance(value, frozenset) else ()
