"""What an inventory is asked for, and which of it an object brings about: the entries of its indexes. Pure.

It must never hold anything: see `ovenbird.plan.inventory`.
"""

from __future__ import annotations

from ovenbird.model.addresses import gateway_of, parse_address
from ovenbird.model.addresses6 import number6
from ovenbird.model.objects import Declared, ExternalNetwork, FloatingIP, Key, LoadBalancer, Network, Port, Router
from ovenbird.plan.legs import leg_networks

Term = tuple[object, ...]
"""What an index is asked for: a tuple whose first item names the index."""

USER, MAC, ADDRESS, SEGMENT, BACKED, TRANSLATED = "user", "mac", "address", "segment", "backed", "translated"
"""The indexes."""
TRANSLATORS = frozenset({"FloatingIP", "LoadBalancer"})
"""Kinds that lead to ports."""


def references(declared: Declared) -> tuple[Key, ...]:
    """Return the objects that this one refers to by name."""
    match declared.spec:
        case Network(router=str() as router):
            return (Key("Router", router),)
        case Router() as router:
            return tuple(Key("ExternalNetwork", leg.network) for leg in router.externals)
        case Port(network=network):
            return (Key("Network", network),)
        case FloatingIP(network=network, port=port):
            return (Key("ExternalNetwork", network), Key("Port", port))
        case LoadBalancer(network=network) as spec:
            return (Key("ExternalNetwork", network), *(Key("Port", port) for port in target_ports(spec)))
    return ()


def target_ports(spec: LoadBalancer) -> tuple[str, ...]:
    """Return the names of the ports that a load balancer leads to, each once, in their order."""
    return tuple(dict.fromkeys(target.port for listener in spec.ports for target in listener.targets))


def claimed_address(declared: Declared) -> tuple[Key, str] | None:
    """Return the network and the address in it that an object occupies: assigned, else asked for."""
    spec, address = declared.spec, declared.assigned.address
    match spec:
        case Port():
            space, address = Key("Network", spec.network), address or spec.address or ""
        case Network():
            space, address = declared.key, address or gateway_of(spec.cidr, spec.gateway)
        case FloatingIP() | LoadBalancer():
            space, address = Key("ExternalNetwork", spec.network), address or spec.address or ""
        case Router(external=external) if external is not None:
            space, address = Key("ExternalNetwork", external.network), address or external.address or ""
        case ExternalNetwork():
            space, address = declared.key, spec.gateway or ""
        case _:
            return None
    return (space, address) if address else None


def claimed_mac(declared: Declared) -> str:
    """Return the MAC that an object occupies: assigned, else asked for, else ""."""
    asked = declared.spec.mac if isinstance(declared.spec, Port) else None
    return declared.assigned.mac or (asked or "").lower()


def terms_of(declared: Declared | None) -> list[Term]:
    """Return the index entries of an object."""
    if declared is None:
        return []
    spec = declared.spec
    if type(spec) is Port:  # nearly all objects are ports: the short way to the same
        space = Key("Network", spec.network)
        short: list[Term] = [(USER, space)]
        if mac := claimed_mac(declared):
            short.append((MAC, mac))
        if address := declared.assigned.address or spec.address:
            short.append((ADDRESS, space, parse_address(address)))
        return short
    terms: list[Term] = [(USER, target) for target in references(declared)]
    terms += claims_of(declared)
    if isinstance(spec, ExternalNetwork | Network) and spec.physnet is not None:
        terms.append((SEGMENT, spec.physnet, spec.vlan))
        if isinstance(spec, Network) and spec.router is not None:
            terms.append((BACKED, spec.router))
    return terms


def claims_of(declared: Declared) -> list[Term]:
    """Return the index entries of the address and the MAC that an object occupies."""
    terms: list[Term] = []
    if mac := claimed_mac(declared):
        terms.append((MAC, mac))
    if claim := claimed_address(declared):
        terms.append((ADDRESS, claim[0], parse_address(claim[1])))
    if declared.assigned.others and isinstance(declared.spec, Router):
        legs = zip(leg_networks(declared.spec)[1:], declared.assigned.others, strict=False)
        terms += [(ADDRESS, Key("ExternalNetwork", network), parse_address(other)) for network, other in legs if other]
    terms += [(ADDRESS, space, number6(address)) for space, address in claimed_addresses6(declared)]
    return terms


def claimed_addresses6(declared: Declared) -> list[tuple[Key, str]]:
    """Return the IPv6 addresses that an object was declared to occupy, with their networks; others follow from MACs."""
    match declared.spec:
        case ExternalNetwork(gateway6=str() as address):
            return [(declared.key, address)]
        case (
            FloatingIP(network=network, address6=str() as address)
            | LoadBalancer(network=network, address6=str() as address)
        ):
            return [(Key("ExternalNetwork", network), address)]
        case Router() as spec:
            return [(Key("ExternalNetwork", leg.network), leg.address6) for leg in spec.externals if leg.address6]
    return []


def translated_candidates(key: Key, old: Declared | None, new: Declared | None) -> set[Key]:
    """Return the ports whose place among their network's translated ports a change may alter."""
    if key.kind in TRANSLATORS:
        return {target for each in (old, new) if each for target in references(each) if target.kind == "Port"}
    return {key} if key.kind == "Port" else set()
