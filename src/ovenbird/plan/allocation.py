"""Addresses and MACs that objects get when they do not ask for one: deterministic, and kept for an object's life.

The lowest free address wins, in the order of the objects' names ("vm2" before "vm10"), so that the order of a file does
not matter. MACs follow from what an object is, salted until nobody has them; those that are seen on a physical network
follow from their address too, so that two clusters on one physical network do not make the same.
It must never look at what a document says wrong: only accepted objects come here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from itertools import count

from ovenbird.model.addresses import (
    Range,
    derived_mac,
    format_address,
    gateway_of,
    parse_address,
    parse_range,
    parse_subnet,
)
from ovenbird.model.objects import (
    KINDS,
    Assigned,
    Declared,
    ExternalNetwork,
    FloatingIP,
    Key,
    LoadBalancer,
    Network,
    Port,
    Router,
    Spec,
)
from ovenbird.plan.inventory import Draft, InventoryView
from ovenbird.plan.legs import leg_networks

_KIND_ORDER = {kind: at for at, kind in enumerate(KINDS)}
_DIGITS = re.compile(r"(\d+)")
_NOTHING = Assigned()


def kind_order(key: Key) -> int:
    """Return a sort key that puts what addresses are taken from before what takes them."""
    return _KIND_ORDER[key.kind]


def natural_order(key: Key) -> tuple[int, list[str | int]]:
    """Return a sort key: kinds in their order, names with their numbers as numbers."""
    parts: list[str | int] = list(_DIGITS.split(key.name))  # text, digits, text, ...
    parts[1::2] = map(int, parts[1::2])
    return _KIND_ORDER[key.kind], parts


def pool_of(external: ExternalNetwork) -> tuple[Range, ...]:
    """Return the addresses of an external network that may be allocated."""
    subnet = parse_subnet(external.cidr)
    return tuple(map(parse_range, external.pool)) or (Range(subnet.first, subnet.last),)


def kept(old: Declared | None, spec: Spec, view: InventoryView) -> Assigned:
    """Return what an object is assigned from its spec and from what it had, before anything is allocated.

    An address that no longer fits (another network, another cidr) is dropped, to be allocated anew.
    """
    had = old.assigned if old else _NOTHING
    match spec:
        case Network():
            return Assigned(address=gateway_of(spec.cidr, spec.gateway), mac=had.mac)
        case Port():
            same = bool(old and isinstance(old.spec, Port) and old.spec.network == spec.network)
            address = spec.address or (had.address if same and _fits(had.address, spec, view) else "")
            mac = spec.mac or had.mac
            return Assigned(address=address, mac=mac) if address or mac else _NOTHING
        case FloatingIP() | LoadBalancer():
            same = bool(old and isinstance(old.spec, type(spec)) and old.spec.network == spec.network)
            address = spec.address or (had.address if same and _fits(had.address, spec, view) else "")
            return Assigned(address=address, mac=had.mac)
        case Router(external=external) if external:
            addresses = _kept_legs(old, spec, view)
            return Assigned(address=addresses[0], mac=had.mac, others=addresses[1:])
    return _NOTHING


def _kept_legs(old: Declared | None, spec: Router, view: InventoryView) -> tuple[str, ...]:
    """Return the address of each leg: asked for, else what the router had in that network; "" is to be allocated."""
    had: dict[str, list[str]] = {}
    if old and isinstance(old.spec, Router):
        for network, address in zip(leg_networks(old.spec), (old.assigned.address, *old.assigned.others), strict=False):
            had.setdefault(network, []).append(address)
    asked = [leg.address or "" for leg in spec.externals]
    found: list[str] = []
    for at, network in enumerate(leg_networks(spec)):
        wanted = asked[at] if at < len(asked) else ""
        left = [each for each in had.get(network, ()) if each not in asked and each not in found]
        found.append(wanted or next((each for each in left if _is_in(each, network, view)), ""))
    return tuple(found)


def _is_in(address: str, external: str, view: InventoryView) -> bool:
    network = view.spec(ExternalNetwork, external)
    return bool(address) and network is not None and parse_address(address) in parse_subnet(network.cidr)


def _fits(address: str, spec: Spec, view: InventoryView) -> bool:
    """Whether an address is still in its network. That a pool was made smaller takes nobody's address away."""
    space = room_for(spec, view)[0]
    network = view.spec(Network, space.name) if space.kind == "Network" else view.spec(ExternalNetwork, space.name)
    if not address or network is None:
        return False
    return parse_address(address) in parse_subnet(network.cidr)


def room_for(spec: Spec, view: InventoryView) -> tuple[Key, tuple[Range, ...]]:
    """Return the network that an object takes its address from, and the addresses it may be given."""
    match spec:
        case Port(network=name):
            network = view.spec(Network, name)
            subnet = parse_subnet(network.cidr) if network else None
            return Key("Network", name), (Range(subnet.first, subnet.last),) if subnet else ()
        case FloatingIP(network=name) | LoadBalancer(network=name):
            pass
        case Router(external=external) if external:
            name = external.network
        case _:
            return Key("", ""), ()
    leads_to = view.spec(ExternalNetwork, name)
    return Key("ExternalNetwork", name), pool_of(leads_to) if leads_to else ()


def allocate(draft: Draft, keys: Iterable[Key]) -> list[Key]:
    """Give every object of the keys the address and MAC that it needs; return those that found no free address."""
    without: list[Key] = []
    rooms: dict[tuple[type[Spec], str], tuple[Key, tuple[Range, ...]]] = {}
    for key in sorted(keys, key=natural_order):
        declared = draft.get(key)
        if declared is None or isinstance(declared.spec, ExternalNetwork):
            continue
        assigned, spec = declared.assigned, declared.spec
        if isinstance(spec, Router) and not spec.external:
            continue
        address, mac = assigned.address, assigned.mac
        if address and (mac or isinstance(spec, LoadBalancer)) and "" not in assigned.others:
            continue
        space, free = key, 0
        if not address:
            space, ranges = _room(rooms, spec, draft)
            lowest = draft.lowest_free(space, ranges)
            if lowest is None:
                without.append(key)
                continue
            free, address = lowest, format_address(lowest)
        # A load balancer is only ever seen behind its router's MAC.
        if not mac and not isinstance(spec, LoadBalancer):
            mac = _free_mac(draft, key, spec, address)
        # Not dataclasses.replace: a file may have 10,000 objects, and it takes three times as long.
        declared = Declared(
            kind=key.kind,
            name=key.name,
            spec=spec,
            assigned=Assigned(address=address, mac=mac, others=assigned.others),
            revision=declared.revision,
        )
        took_mac = not assigned.mac and bool(mac)
        draft.assign(key, declared, space, free, took_address=not assigned.address, took_mac=took_mac)
        if "" in assigned.others and not _allocate_further(draft, declared):
            without.append(key)
    return without


def _room(
    known: dict[tuple[type[Spec], str], tuple[Key, tuple[Range, ...]]], spec: Spec, view: InventoryView
) -> tuple[Key, tuple[Range, ...]]:
    """Return `room_for`, worked out once per network: thousands of ports share one."""
    if not isinstance(spec, Port | FloatingIP | LoadBalancer):
        return room_for(spec, view)
    identity = (type(spec), spec.network)
    found = known.get(identity)
    if found is None:
        found = known[identity] = room_for(spec, view)
    return found


def _allocate_further(draft: Draft, declared: Declared) -> bool:
    """Give a router the addresses of its second and further legs; return whether there were enough."""
    spec, others = declared.spec, list(declared.assigned.others)
    for at, network in enumerate(leg_networks(spec)[1:] if isinstance(spec, Router) else ()):
        external = draft.spec(ExternalNetwork, network)
        if others[at] or external is None:
            continue
        free = draft.lowest_free(Key("ExternalNetwork", network), pool_of(external))
        if free is None:
            return False
        others[at] = format_address(free)
        draft.put(replace(declared, assigned=replace(declared.assigned, others=tuple(others))))
    return True


def _free_mac(draft: Draft, key: Key, spec: Spec, address: str) -> str:
    identity: tuple[str | int, ...] = key
    if isinstance(spec, Router | FloatingIP):
        identity = (*key, address)
    elif isinstance(spec, Network):
        identity = ("router-port", key.name)
    mac = derived_mac(*identity)
    if not draft.mac_owners(mac):
        return mac
    salts = count(1)
    while draft.mac_owners(mac):
        mac = derived_mac(*identity, next(salts))
    return mac
