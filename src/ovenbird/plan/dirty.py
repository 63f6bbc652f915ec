"""Which objects must be compiled again after a change: those whose rows may differ, and no others.

It mirrors what `compile` reads. Whoever makes a row of one kind depend on another kind must say so here;
`tests/core/test_dirty.py` compares with compiling everything and finds what was forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ovenbird.model.objects import Declared, ExternalNetwork, FloatingIP, Key, LoadBalancer, Network, Port, Router
from ovenbird.plan.compile_context import is_bridged
from ovenbird.plan.index_terms import target_ports
from ovenbird.plan.inventory import InventoryView
from ovenbird.plan.legs import is_pinned, legs_wanted, router_of
from ovenbird.plan.reach import router_between
from ovenbird.plan.rows import Placement


def dirty(changed: Iterable[Key], old: InventoryView, new: InventoryView) -> frozenset[Key]:
    """Return the objects whose rows may change when `changed` went from one inventory to the other.

    Objects that were declared in either are returned, removed ones included. The work is that of the change: a port
    costs its floating IPs and load balancers, a network's DHCP its ports, a router's external address its networks.
    """
    found: set[Key] = set()
    for key in changed:
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        found.add(key)
        for view, state in ((old, before), (new, after)):
            if state:
                followers = set(_followers(key, before, after, view))
                found.update(followers, _announcing(followers | {key}, view))
    return frozenset(found)


def _announcing(keys: Iterable[Key], view: InventoryView) -> Iterator[Key]:
    """Yield the routers that name others' IPv6 addresses, of floating IPs and load balancers, in rows of their own."""
    for key in keys:
        declared = view.get(key)
        match declared.spec if declared else None:
            case FloatingIP(address6=str()) as spec:
                ports: tuple[str, ...] = (spec.port,)
            case LoadBalancer(address6=str()) as spec:
                ports = target_ports(spec)
            case _:
                continue
        routers = filter(None, (router_between(spec.network, port, view) for port in ports))
        yield from (Key("Router", router) for router in routers)


def dirty_by_placement(old: Placement, new: Placement) -> frozenset[Key]:
    """Return the routers whose gateways differ."""
    return frozenset(
        Key("Router", router_of(router))
        for router in old.routers.keys() | new.routers.keys()
        if _placed(old, router) != _placed(new, router)
    )


def _placed(placement: Placement, router: str) -> tuple[object, ...]:
    return (
        placement.routers.get(router),
        placement.home(router),
        placement.requests.get(router, 0),
        router in placement.vacant,
    )


def _followers(key: Key, before: Declared | None, after: Declared | None, view: InventoryView) -> Iterator[Key]:
    """Yield, from one of both inventories, the users of a changed object whose rows depend on what changed."""
    match (after or before, before, after):
        case (Declared(spec=ExternalNetwork()), _, _):
            # Address prefix, default route and MTU of the routers' legs. Floating IPs read which of several legs has
            # the default route.
            for user in view.users(key):
                router = view.spec(Router, user.name) if user.kind == "Router" else None
                if router is not None:
                    yield user
                    if is_pinned(router) or any(leg.snat6 for leg in router.externals):
                        behind = view.networks_of(user.name)
                        yield from (each.key for each in behind if isinstance(each.spec, Network) and each.spec.cidr6)
                    yield from (fip.key for fip in view.floating_ips_of(user.name)) if router.further else ()
        case (Declared(spec=Router()), _, _):
            if _leg(before) != _leg(after):
                networks = [user for user in view.users(key) if user.kind == "Network"]
                yield from networks
                if _leg(before)[:3] != _leg(after)[:3]:
                    yield from (fip.key for fip in view.floating_ips_of(key.name))
                    yield from (balancer.key for balancer in view.load_balancers_of(key.name))
        case (Declared(spec=Port()), _, _):
            yield from view.users(key)
        case (Declared(spec=Network()), _, _):
            yield from _followers_of_network(key, before, after, view)


def _followers_of_network(
    key: Key, before: Declared | None, after: Declared | None, view: InventoryView
) -> Iterator[Key]:
    old, new = _network(before), _network(after)
    same_place = old is not None and new is not None
    ports_differ = not same_place or (old and new and _told(old) != _told(new))
    fips_differ = not same_place or (old and new and (old.router, old.cidr6) != (new.router, new.cidr6))
    if not ports_differ and not fips_differ:
        return
    for user in view.users(key):
        if ports_differ:
            yield user
        if fips_differ:
            yield from view.users(user)


def _leg(declared: Declared | None) -> tuple[object, ...]:
    """Return what networks and what leads inward read of a router.

    Its existence, external network and legs come first: what leads inward reads no more. Then SNAT, addresses, and
    whether tunnels lead to its gateway.
    """
    if declared is None or not isinstance(declared.spec, Router):
        return (False,)
    externals = declared.spec.externals
    if not externals:
        return (True,)
    legs = legs_wanted(declared.spec) if is_pinned(declared.spec) else 0
    networks, snat = tuple(leg.network for leg in externals), tuple(leg.snat for leg in externals)
    # The MAC brings the IPv6 address about.
    snat6 = tuple((leg.address6, declared.assigned.mac) if leg.snat6 else None for leg in externals)
    assigned = declared.assigned.address, declared.assigned.others
    return (True, networks, legs, snat, snat6, assigned, is_bridged(declared.spec))


def _told(network: Network) -> tuple[object, ...]:
    """Return what ports read of their network."""
    return network.dhcp, network.cidr6, network.dhcp6, bool(network.dns6)


def _network(declared: Declared | None) -> Network | None:
    return declared.spec if declared and isinstance(declared.spec, Network) else None
