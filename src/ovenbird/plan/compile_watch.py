"""Rows that keep BFD running among gateways that were taken out of each other's groups.

BFD runs between members of a group only, and whether two gateways see each other again cannot be told without it.
While a pair is apart (`ovenbird.plan.separation`), a port of type "external" in each external network of that physical
network refers to a group of all its gateways. northd passes the group on for the port's sake, and no chassis claims a
port that has no address. These rows carry nothing, and go when the pair is together again.
"""

from __future__ import annotations

from ovenbird.model.objects import Declared, ExternalNetwork
from ovenbird.plan import compile_names as names
from ovenbird.plan.compile_context import CompileContext
from ovenbird.plan.rows import APART, OWNER, NbRow, Parent, row_uuid


def watch_rows(declared: Declared, spec: ExternalNetwork, context: CompileContext) -> tuple[NbRow, ...]:
    """Return the rows that let all gateways of an external network see each other, while some are apart."""
    watched = context.placement.watched.get(spec.physnet, ())
    if not watched:
        return ()
    owner = {OWNER: str(declared.key)}
    name = names.watch(declared.name)
    group = row_uuid("HA_Chassis_Group", name)
    parent = Parent("HA_Chassis_Group", group, "ha_chassis")
    apart = {APART: "; ".join(sorted(context.placement.apart))}
    return (
        NbRow("HA_Chassis_Group", group, {"name": name, "external_ids": {**owner, **apart}}, declared.key),
        *(
            NbRow(
                "HA_Chassis",
                row_uuid("HA_Chassis", f"{name}_{gateway}"),
                {"chassis_name": gateway, "priority": len(watched) - at, "external_ids": owner},
                declared.key,
                parent,
            )
            for at, gateway in enumerate(watched)
        ),
        NbRow(
            "Logical_Switch_Port",
            row_uuid("Logical_Switch_Port", name),
            {
                "name": name,
                "type": "external",
                "addresses": frozenset(),
                "ha_chassis_group": group,
                "external_ids": owner,
            },
            declared.key,
            Parent("Logical_Switch", names.external_switch(declared.name), "ports"),
        ),
    )
