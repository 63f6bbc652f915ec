"""Which chassis must see each other by BFD, as follows from the routers' gateway groups. Pure."""

from __future__ import annotations

from itertools import combinations, product

from ovenbird.plan.observation import RouterView


def sessions_needed(routers: tuple[RouterView, ...]) -> list[tuple[str, str]]:
    """Return the pairs of chassis between which gateway groups need BFD, each once, sorted.

    Gateway to gateway, and gateway to the chassis with workloads behind the router; groups of one need none
    (ovn-controller's bfd.c; ovn-sb(5), HA_Chassis_Group, ref_chassis).
    """
    pairs: set[tuple[str, str]] = set()
    for gateways, peers in {(router.gateways, router.peers) for router in routers}:
        names = [name for name, _ in gateways]
        if len(names) < 2:
            continue
        pairs |= {(min(pair), max(pair)) for pair in combinations(names, 2)}
        pairs |= {(min(pair), max(pair)) for pair in product(names, peers - set(names))}
    return sorted(pairs)
