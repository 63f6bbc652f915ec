"""What follows for placements from pairs of gateways that must not be in one group, and what NB tells of such pairs.

Pure in effect: placements in, placements out. Who is apart is decided in `ovenbird.plan.separation`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from ovenbird.model.objects import ExternalNetwork, Key
from ovenbird.plan.gateways import RouterNeed, may_carry
from ovenbird.plan.inventory import InventoryView
from ovenbird.plan.nb_index import NbIndex
from ovenbird.plan.rows import APART, Gateway, Placement
from ovenbird.plan.separation import Pair, Separated, kept, written


def barred_gateways(
    needs: Iterable[RouterNeed],
    hosts: Sequence[Gateway],
    placement: Placement,
    separated: Mapping[Pair, Separated],
    carriers: Mapping[str, str | None],
) -> dict[str, frozenset[str]]:
    """Return, by router, the gateways that must not be in its group; routers without such are left out.

    A gateway router is left alone: where it is depends on no group.
    """
    found: dict[str, frozenset[str]] = {}
    for need in (need for need in needs if separated and not need.pinned):
        order = [name for name, _ in placement.routers.get(need.name, ())]
        eligible = {host.name for host in hosts if may_carry(host, need)}
        candidates = [name for name in order if name in eligible]
        candidates += sorted(eligible - set(candidates))
        gone = frozenset(candidates) - frozenset(kept(candidates, order, carriers.get(need.name), separated))
        if gone:
            found[need.name] = gone
    return found


def with_separation(
    placement: Placement,
    hosts: Sequence[Gateway],
    barred: Mapping[str, frozenset[str]],
    separated: Mapping[Pair, Separated],
) -> Placement:
    """Return a placement with what keeps BFD up while gateways are apart."""
    watched: dict[str, tuple[str, ...]] = {}
    for physnet in sorted({physnet for host in hosts for physnet in host.physnets}):
        names = sorted(host.name for host in hosts if physnet in host.physnets)
        if any(pair.issubset(names) for pair in separated):
            watched[physnet] = tuple(names)
    vacant = frozenset(name for name in barred if len(placement.routers.get(name, ())) == 1)
    return replace(placement, vacant=vacant, watched=watched, apart=written(separated))


def watched_networks(inventory: InventoryView, before: Placement, after: Placement) -> frozenset[Key]:
    """Return the external networks whose watch rows differ."""
    if (before.watched, before.apart) == (after.watched, after.apart):
        return frozenset()
    return frozenset(
        Key("ExternalNetwork", name)
        for name, declared in inventory.of_kind("ExternalNetwork").items()
        if isinstance(declared.spec, ExternalNetwork)
        and (declared.spec.physnet in before.watched or declared.spec.physnet in after.watched)
    )


def apart_in_nb(inventory: InventoryView, index: NbIndex) -> frozenset[str]:
    """Return the pairs that are apart by NB's word, as `ovenbird.plan.separation` writes them."""
    found: set[str] = set()
    for name in inventory.of_kind("ExternalNetwork"):
        for row in index.rows_of(Key("ExternalNetwork", name)):
            if row.table == "HA_Chassis_Group":
                found.update(text for text in row.columns["external_ids"].get(APART, "").split("; ") if text)
    return frozenset(found)
