"""What `diff` must be able to ask about NB, as it is now. Each answer takes the time of its size, never of NB's.

The tables, parents' sets and references that Ovenbird's rows live in are listed here, once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from ovenbird.model.objects import Key
from ovenbird.plan.rows import OWNER, Columns, row_uuid

CHILD_SETS: dict[str, dict[str, str]] = {
    "Load_Balancer_Group": {"load_balancer": "Load_Balancer"},
    "Logical_Switch": {"ports": "Logical_Switch_Port"},
    "Logical_Router": {
        "ports": "Logical_Router_Port",
        "static_routes": "Logical_Router_Static_Route",
        "nat": "NAT",
        "policies": "Logical_Router_Policy",
    },
    "HA_Chassis_Group": {"ha_chassis": "HA_Chassis"},
    "DHCP_Options": {},
}
"""Our root tables, parents before those that refer to them: column -> table of the rows in its set."""

STANDING: frozenset[str] = frozenset({"Load_Balancer"})
"""Tables of CHILD_SETS whose rows the server keeps when no set holds them: they must be deleted."""

MEMBER_SETS: dict[str, dict[str, str]] = {
    "Logical_Switch": {"load_balancer_group": "Load_Balancer_Group"},
    "Logical_Router": {"load_balancer_group": "Load_Balancer_Group"},
}
"""Sets of root rows that we share with others (`NbRow.members`). The last to let go is the first that may delete."""

REFERENCES: dict[str, dict[str, str]] = {
    "Logical_Router_Port": {"ha_chassis_group": "HA_Chassis_Group"},
    "Logical_Switch_Port": {
        "dhcpv4_options": "DHCP_Options",
        "dhcpv6_options": "DHCP_Options",
        "ha_chassis_group": "HA_Chassis_Group",
    },
}
"""Columns that refer to a root row of ours."""

STRONG = frozenset({"ha_chassis_group"})
"""Columns of REFERENCES that forbid to delete the row they refer to; the others just lose it."""

NAME_SPACES: dict[str, str] = {
    "Logical_Switch_Port": "port",
    "Logical_Router_Port": "port",
    "HA_Chassis_Group": "group",
    "Load_Balancer_Group": "load balancer group",
}
"""Tables whose rows' names must be unique, and with whose: northd has one name space for all logical ports."""

TABLES: tuple[str, ...] = (*CHILD_SETS, *(child for sets in CHILD_SETS.values() for child in sets.values()))
"""Every table that we make rows in, root tables first."""

WATCHED_COLUMNS: dict[str, tuple[str, ...]] = {
    "Load_Balancer_Group": ("name", "load_balancer"),
    "Logical_Switch": ("name", "ports", "load_balancer_group", "external_ids"),
    "Logical_Router": (
        "name",
        "ports",
        "static_routes",
        "nat",
        "policies",
        "load_balancer_group",
        "options",
        "external_ids",
    ),
    "HA_Chassis_Group": ("name", "ha_chassis", "external_ids"),
    "DHCP_Options": ("cidr", "options", "external_ids"),
    "Logical_Switch_Port": (
        "name",
        "type",
        "addresses",
        "port_security",
        "options",
        "tag",
        "tag_request",
        "dhcpv4_options",
        "dhcpv6_options",
        "ha_chassis_group",
        "external_ids",
    ),
    "Logical_Router_Port": (
        "name",
        "mac",
        "networks",
        "gateway_chassis",
        "ha_chassis_group",
        "options",
        "ipv6_ra_configs",
        "external_ids",
    ),
    "Logical_Router_Static_Route": ("ip_prefix", "nexthop", "output_port", "policy", "external_ids"),
    "Logical_Router_Policy": ("priority", "match", "action", "nexthops", "external_ids"),
    "NAT": ("type", "external_ip", "logical_ip", "external_mac", "logical_port", "options", "external_ids"),
    "HA_Chassis": ("chassis_name", "priority", "external_ids"),
    "Load_Balancer": ("name", "vips", "protocol", "selection_fields", "options", "external_ids"),
}
"""All columns that compile writes or diff reads: what a replica of NB must hold."""


class ActualRow(NamedTuple):
    """A row as it is in NB."""

    table: str
    uuid: str
    columns: Columns

    @property
    def owner(self) -> Key | None:
        """The declared object that the row says it exists for; None when it is not ours."""
        return owner_of(self.columns) or _owner_by_name(self)


class Holder(NamedTuple):
    """A row and its column whose set holds another row, or which refers to it."""

    table: str
    uuid: str
    column: str


class NbView(Protocol):
    """Read access to NB as it is."""

    def row(self, table: str, uuid: str) -> ActualRow | None:
        """Return the row, or None."""

    def rows_of(self, owner: Key) -> Iterable[ActualRow]:
        """Return the rows marked as an object's."""

    def owners(self) -> Iterable[Key]:
        """Return every object that some row is marked for."""

    def holders(self, uuid: str) -> Iterable[Holder]:
        """Return the rows whose child set holds this row."""

    def referrers(self, uuid: str) -> Iterable[Holder]:
        """Return the rows that refer to this row by a column of REFERENCES or MEMBER_SETS."""

    def named(self, table: str, name: str) -> Iterable[ActualRow]:
        """Return the rows that have a name in the table's name space (NAME_SPACES)."""


def owner_of(columns: Columns) -> Key | None:
    """Return the object that a row's external_ids name as its owner, or None."""
    mark: str | None = columns.get("external_ids", {}).get(OWNER)
    if mark is None:
        return None
    kind, _, name = mark.partition("/")
    return Key(kind, name)


def _owner_by_name(row: ActualRow) -> Key | None:
    """Return the router whose Load_Balancer_Group this is: that table has no external_ids, but our UUIDs tell."""
    if row.table != "Load_Balancer_Group":
        return None
    name = row.columns["name"]
    return Key("Router", name) if row.uuid == row_uuid(row.table, name) else None
