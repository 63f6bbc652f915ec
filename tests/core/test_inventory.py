"""The inventory's indexes: whatever the order of changes, they say what the objects say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovenbird.model.addresses import Range, format_address, parse_address
from ovenbird.model.objects import (
    Assigned,
    Declared,
    ExternalNetwork,
    FloatingIP,
    Key,
    Network,
    Port,
    Router,
    RouterExternal,
    Spec,
)
from ovenbird.plan.index_terms import claimed_address, claimed_mac, references
from ovenbird.plan.inventory import Draft, Inventory


def declared(name: str, spec: Spec, **assigned: str) -> Declared:
    return Declared(kind=type(spec).__name__, name=name, spec=spec, assigned=Assigned(**assigned))


PUBLIC = declared("public", ExternalNetwork(physnet="ext", cidr="172.16.0.0/24", gateway="172.16.0.254"))
R1 = declared("r1", Router(external=RouterExternal(network="public")), address="172.16.0.100", mac="0a:00:00:00:00:01")
BLUE = declared("blue", Network(cidr="192.168.1.0/24", router="r1"))
VM1 = declared("vm1", Port(network="blue", address="192.168.1.11", mac="0A:00:00:00:00:11"))
FIP = declared("f1", FloatingIP(network="public", port="vm1"), address="172.16.0.101")


def test_every_index_answers():
    inventory = Inventory([PUBLIC, R1, BLUE, VM1, FIP])
    blue, public = Key("Network", "blue"), Key("ExternalNetwork", "public")
    assert inventory.users(public) == {R1.key, FIP.key}
    assert inventory.users(blue) == {VM1.key}
    assert inventory.users(VM1.key) == {FIP.key}
    assert inventory.users(R1.key) == {BLUE.key}
    assert inventory.address_owner(blue, "192.168.1.11") == VM1.key
    assert inventory.address_owner(blue, "192.168.1.1") == BLUE.key
    assert inventory.address_owner(public, "172.16.0.254") == PUBLIC.key
    assert inventory.address_owner(public, "172.16.0.100") == R1.key
    assert inventory.address_owner(public, "172.16.0.101") == FIP.key
    assert inventory.address_owner(public, "172.16.0.102") is None
    assert inventory.mac_owner("0a:00:00:00:00:11") == VM1.key
    assert inventory.networks_of("r1") == [BLUE]
    assert inventory.floating_ips_of("r1") == [FIP]
    assert inventory.floating_ips_of("r2") == []
    assert inventory.networks_on("ext", None) == {public}
    assert inventory.spec(Network, "blue") == BLUE.spec
    assert inventory.spec(Network, "green") is None
    assert inventory.get(Key("Nothing", "x")) is None
    assert len(inventory) == 5
    assert set(inventory) == {PUBLIC, R1, BLUE, VM1, FIP}


def test_a_floating_ip_follows_its_port_to_another_router():
    inventory = Inventory([FIP, VM1, BLUE, declared("green", Network(cidr="192.168.2.0/24", router="r2"))])
    inventory.put(declared("vm1", Port(network="green", address="192.168.2.11")))
    assert inventory.floating_ips_of("r1") == []
    assert inventory.floating_ips_of("r2") == [FIP]
    inventory.remove(VM1.key)
    assert inventory.floating_ips_of("r2") == []


@pytest.mark.parametrize("first", ["10.0.0.0", "10.0.15.250"])
def test_lowest_free_crosses_bitmap_blocks(first: str):
    start = parse_address(first)
    space = Key("Network", "n")
    ports = [
        declared(f"p{at}", Port(network="n", address=format_address(start + at))) for at in (0, 1, 2, 3, 4, 5, 6, 7, 9)
    ]
    inventory = Inventory(ports)
    assert inventory.lowest_free(space, [Range(start, start + 7)]) is None
    assert inventory.lowest_free(space, [Range(start, start + 20)]) == start + 8
    assert inventory.lowest_free(space, [Range(start + 9, start + 20)]) == start + 10
    assert inventory.lowest_free(space, [Range(start + 3, start + 4), Range(start + 30, start + 30)]) == start + 30
    inventory.remove(ports[3].key)
    assert inventory.lowest_free(space, [Range(start, start + 20)]) == start + 3


NAMES = st.sampled_from(["a", "b"])
ADDRESSES = st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3"]) | st.none()
OBJECTS = st.one_of(
    st.builds(
        declared,
        NAMES,
        st.builds(ExternalNetwork, physnet=NAMES, cidr=st.just("10.0.0.0/24"), gateway=ADDRESSES),
    ),
    st.builds(declared, NAMES, st.builds(Network, cidr=st.just("10.0.0.0/24"), router=NAMES, gateway=ADDRESSES)),
    st.builds(
        declared,
        NAMES,
        st.builds(Network, cidr=st.just("10.0.0.0/24"), router=NAMES, physnet=NAMES, vlan=st.integers(1, 2)),
    ),
    st.builds(
        declared,
        NAMES,
        st.builds(Router, external=st.none() | st.builds(RouterExternal, network=NAMES, address=ADDRESSES)),
        mac=st.sampled_from(["", "0a:00:00:00:00:01"]),
    ),
    st.builds(
        declared,
        NAMES,
        st.builds(Port, network=NAMES, address=ADDRESSES, mac=st.sampled_from([None, "0A:00:00:00:00:01"])),
    ),
    st.builds(declared, NAMES, st.builds(FloatingIP, network=NAMES, port=NAMES, address=ADDRESSES)),
)
DELTAS = st.lists(OBJECTS | OBJECTS.map(lambda each: each.key), max_size=12)


def answers(view: Inventory | Draft) -> dict[str, object]:
    """Every question on the small universe of OBJECTS."""
    kinds = ("ExternalNetwork", "Network", "Router", "Port", "FloatingIP")
    keys = [Key(kind, name) for kind in kinds for name in "ab"]
    spaces = [key for key in keys if key.kind in ("Network", "ExternalNetwork")]
    first = parse_address("10.0.0.0")
    return {
        "objects": {kind: dict(view.of_kind(kind)) for kind in kinds},
        "users": {key: set(view.users(key)) for key in keys},
        "addresses": {(space, at): set(view.address_owners(space, first + at)) for space in spaces for at in range(5)},
        "free": {space: view.lowest_free(space, [Range(first + 1, first + 4)]) for space in spaces},
        "macs": set(view.mac_owners("0a:00:00:00:00:01")),
        "networks_of": {name: view.networks_of(name) for name in "ab"},
        "floating_ips_of": {name: view.floating_ips_of(name) for name in "ab"},
        "networks_on": {(name, vlan): set(view.networks_on(name, vlan)) for name in "ab" for vlan in (None, 1, 2)},
        "physnets_of": {name: view.physnets_of(name) for name in "ab"},
    }


def carry(view: dict[str, object], objects: dict[Key, Declared]) -> None:
    """Which physical networks carry what."""
    carried = [each for each in objects.values() if getattr(each.spec, "physnet", None)]
    for name, vlan in view["networks_on"]:  # type: ignore[attr-defined]
        there = {each.key for each in carried if (each.spec.physnet, each.spec.vlan) == (name, vlan)}  # type: ignore[attr-defined]
        view["networks_on"][name, vlan] = there  # type: ignore[index]
    for router in "ab":
        behind = [each.spec for each in carried if getattr(each.spec, "router", None) == router]
        view["physnets_of"][router] = frozenset(spec.physnet for spec in behind)  # type: ignore[index, attr-defined]


def oracle(objects: dict[Key, Declared]) -> dict[str, object]:
    """The same answers, by looking at every object."""
    view = answers(Inventory())
    users: dict[Key, set[Key]] = view["users"]  # type: ignore[assignment]
    addresses: dict[tuple[Key, int], set[Key]] = view["addresses"]  # type: ignore[assignment]
    for key, each in sorted(objects.items()):
        view["objects"][key.kind][key.name] = each  # type: ignore[index]
        for target in references(each):
            users[target].add(key)
        if claim := claimed_address(each):
            addresses[claim[0], parse_address(claim[1]) & 255].add(key)
        if claimed_mac(each):
            view["macs"].add(key)  # type: ignore[attr-defined]
        if isinstance(each.spec, Network):
            view["networks_of"][each.spec.router].append(each)  # type: ignore[index]
        if isinstance(each.spec, FloatingIP):
            port = objects.get(Key("Port", each.spec.port))
            network = objects.get(Key("Network", port.spec.network)) if port else None  # type: ignore[attr-defined]
            if network:
                view["floating_ips_of"][network.spec.router].append(each)  # type: ignore[index, attr-defined]
    carry(view, objects)
    for space in view["free"]:  # type: ignore[attr-defined]
        free = [at for at in range(1, 5) if not addresses[space, at]]
        view["free"][space] = parse_address("10.0.0.0") + free[0] if free else None  # type: ignore[index]
    return view


def change(view: Inventory | Draft, objects: dict[Key, Declared], delta: Declared | Key) -> None:
    if isinstance(delta, Key):
        view.remove(delta)
        objects.pop(delta, None)
    else:
        view.put(delta)
        objects[delta.key] = delta


@given(DELTAS)
def test_after_any_deltas_the_indexes_say_what_the_objects_say(deltas: list[Declared | Key]):
    inventory, objects = Inventory(), dict[Key, Declared]()
    for delta in deltas:
        change(inventory, objects, delta)
    assert answers(inventory) == oracle(objects)


@given(DELTAS, DELTAS)
def test_a_draft_answers_as_the_changed_inventory_would_and_leaves_the_base_alone(
    before: list[Declared | Key], after: list[Declared | Key]
):
    base, objects = Inventory(), dict[Key, Declared]()
    for delta in before:
        change(base, objects, delta)
    was = answers(base)
    draft = Draft(base)
    for delta in after:
        change(draft, objects, delta)
    assert answers(draft) == oracle(objects)
    assert answers(base) == was
