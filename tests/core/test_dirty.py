"""Dirty: exactly the objects whose rows differ after one thing has changed, and few others."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.core.samples import BLUE, CONTEXT, FIP1, FIP2, PUBLIC, R1, SAMPLE, VM1, VM2, WEB, declared

from ovenbird.model.objects import Declared, Key, Network, Port, Route, Router, RouterExternal, RouterGateways
from ovenbird.plan.compile import compile_object
from ovenbird.plan.dirty import dirty, dirty_by_placement
from ovenbird.plan.inventory import Inventory
from ovenbird.plan.rows import Placement

R2 = declared("r2", Router(external=RouterExternal(network="public")), address="172.16.0.2")
GREEN = declared("green", Network(cidr="192.168.9.0/24", router="r2"))
OBJECTS = (*SAMPLE, R2, GREEN)

CHANGES = [
    *((item, {}, None) for item in OBJECTS),
    (PUBLIC, {"vlan": 7}, {PUBLIC.key, R1.key, R2.key}),
    (PUBLIC, {"gateway": "172.16.0.253"}, {PUBLIC.key, R1.key, R2.key}),
    (PUBLIC, {"mtu": 1400}, {PUBLIC.key, R1.key, R2.key}),
    (R1, {"routes": (Route(to="10.0.0.0/8", via="192.168.1.9"),)}, {R1.key}),
    (R1, {"gateways": RouterGateways(count=1)}, {R1.key}),
    (R1, {"gateways": RouterGateways(mode="shared")}, {R1.key}),
    (R1, {"gateways": RouterGateways(mode="gateway-router")}, {R1.key, BLUE.key, FIP1.key, FIP2.key, WEB.key}),
    (R1, {"gateways": RouterGateways(mode="active-active")}, {R1.key, BLUE.key, FIP1.key, FIP2.key, WEB.key}),
    (R1, {"gateways": RouterGateways(redirect="bridged")}, {R1.key, BLUE.key}),
    (R1, {"external": None}, {R1.key, BLUE.key, FIP1.key, FIP2.key, WEB.key}),
    (R1, {"external": RouterExternal(network="public", snat=False)}, {R1.key, BLUE.key}),
    (R1, {"address": "172.16.0.9"}, {R1.key, BLUE.key}),
    (BLUE, {"router": None}, {BLUE.key, FIP1.key, FIP2.key, WEB.key}),
    (BLUE, {"router": "r2"}, {BLUE.key, FIP1.key, FIP2.key, WEB.key}),
    (BLUE, {"dhcp": False}, {BLUE.key, VM1.key, VM2.key}),
    (BLUE, {"mtu": 1400}, {BLUE.key}),
    (BLUE, {"physnet": "ext", "vlan": 201}, {BLUE.key}),
    (BLUE, {"dns": ()}, {BLUE.key}),
    (VM1, {"port_security": False}, {VM1.key, FIP1.key}),
    (VM1, {"network": "green"}, {VM1.key, FIP1.key}),
    (VM1, {"address": "192.168.1.99"}, {VM1.key, FIP1.key}),
    (VM2, {"address": "192.168.1.99"}, {VM2.key, FIP2.key, WEB.key}),
    (FIP1, {"distributed": False}, {FIP1.key}),
    (FIP1, {"port": "vm2"}, {FIP1.key}),
    (FIP1, {"address": "172.16.0.199"}, {FIP1.key}),
    (WEB, {"affinity": "client"}, {WEB.key}),
    (WEB, {"address": "172.16.0.199"}, {WEB.key}),
]


def with_changes(item: Declared, changes: dict[str, object]) -> Declared:
    spec = {name: value for name, value in changes.items() if name != "address"}
    assigned = replace(item.assigned, address=str(changes.get("address", item.assigned.address)))
    return replace(item, spec=item.spec.model_copy(update=spec), assigned=assigned)


@pytest.mark.parametrize(("item", "changes", "expected"), CHANGES, ids=lambda value: str(getattr(value, "key", value)))
def test_one_change_either_way(item: Declared, changes: dict[str, object], expected: set[Key] | None):
    before, after = Inventory(OBJECTS), Inventory(OBJECTS)
    if changes:
        after.put(with_changes(item, changes))
    else:
        after.remove(item.key)
    for old, new in ((before, after), (after, before)):
        found = dirty([item.key], old, new)
        differ = {
            each.key
            for each in OBJECTS
            if compile_object(each.key, old, CONTEXT) != compile_object(each.key, new, CONTEXT)
        }
        assert differ <= found
        if expected is not None:
            assert found == expected


def test_an_object_that_did_not_change_is_not_dirty():
    inventory = Inventory(OBJECTS)
    assert dirty([item.key for item in OBJECTS], inventory, Inventory(OBJECTS)) == frozenset()


def test_a_port_more_in_a_network_of_many_is_one_object():
    many = [declared(f"p{number}", Port(network="blue"), address="192.168.1.50", mac="") for number in range(100)]
    new = Inventory([*OBJECTS, *many])
    assert dirty([many[0].key], Inventory([*OBJECTS, *many[1:]]), new) == {many[0].key}


def test_placement():
    one, two = (("gw1", 100),), (("gw2", 100),)
    old, new = Placement(routers={"r1": one, "r2": one}), Placement(routers={"r1": one, "r2": two, "r3": two})
    assert dirty_by_placement(old, new) == {Key("Router", "r2"), Key("Router", "r3")}
    assert dirty_by_placement(new, old) == dirty_by_placement(old, new)
