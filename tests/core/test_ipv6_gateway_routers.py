"""IPv6 through gateway routers: what they have outside, what leads to them and back, and what they announce."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.core.samples import BLUE, FIP1, FIP2, PUBLIC, R1, WEB
from tests.core.test_ipv6 import (
    BLUE6,
    DUAL,
    FIP1_6,
    PUBLIC6,
    R1_6,
    R1_ADDRESS,
    VM1_ADDRESS,
    changed,
    named,
)

from ovenbird.model.addresses6 import derived_address6
from ovenbird.model.objects import Declared, Key, Route, RouterExternal, RouterGateways
from ovenbird.plan.compile import CompileContext, compile_object
from ovenbird.plan.dirty import dirty
from ovenbird.plan.inventory import Inventory
from ovenbird.plan.legs import legs_of
from ovenbird.plan.rows import ANNOUNCED6, NbRow, Placement

ORDER = (("gw1", 100), ("gw2", 90))
PLACED = CompileContext(placement=Placement(routers=dict.fromkeys(("r1", "r1_1", "r1_2"), ORDER)))
HOME, FAR6 = "fd00:1::9", "2001:db8:9::/48"
"""A next hop in a network behind the router, and what is behind that."""


VIP6 = "2001:db8::150"
WEB_6 = changed(WEB, address6=VIP6)
VM2_ADDRESS = derived_address6(BLUE6, "0a:00:00:00:00:12")


def in_mode(mode: str, **more: object) -> Declared:
    gateways = RouterGateways.model_validate({"mode": mode})
    router = changed(R1_6, gateways=gateways, **more)
    others = ("172.16.0.2",) if mode == "active-active" else ()
    return replace(router, assigned=replace(router.assigned, others=others))


def all_rows(objects: dict[Key, Declared]) -> list[NbRow]:
    inventory = Inventory(objects.values())
    return [row for key in objects for row in compile_object(key, inventory, PLACED)]


def routes(found: list[NbRow], router: str) -> set[tuple[str, str, str | None]]:
    uuid = next(row.uuid for row in found if row.table == "Logical_Router" and row.columns["name"] == router)
    return {
        (row.columns["ip_prefix"], row.columns["nexthop"], row.columns["output_port"])
        for row in found
        if row.table == "Logical_Router_Static_Route" and row.parent and row.parent.uuid == uuid
        if ":" in row.columns["ip_prefix"]
    }


def test_a_gateway_router_has_ipv6_outside_and_over_its_transit_switch() -> None:
    objects = {**DUAL, R1.key: in_mode("gateway-router"), FIP1.key: changed(FIP1_6, distributed=False)}
    found = all_rows(objects)
    assert named(found, "r1_gw_public").columns["networks"] == {"172.16.0.1/24", f"{R1_ADDRESS}/64"}
    assert routes(found, "r1") == {
        ("::/0", "fd6f:7665:6e62:40::2", "r1__transit"),
        (PUBLIC6, "fd6f:7665:6e62:40::2", "r1__transit"),
    }
    assert routes(found, "r1_gw") == {
        ("::/0", "fe80::1", "r1_gw_public"),
        (BLUE6, "fd6f:7665:6e62:40::1", None),
    }
    on_it = {row.uuid for row in found if row.table == "Logical_Router" and row.columns["name"] == "r1_gw"}
    nats = [row for row in found if row.table == "NAT" and ":" in row.columns["external_ip"]]
    assert {row.parent.uuid for row in nats if row.parent} == on_it
    assert {(row.columns["external_ip"], row.columns["logical_ip"]) for row in nats} >= {
        (R1_ADDRESS, BLUE6),
        ("2001:db8::101", VM1_ADDRESS),
    }
    announced = named(found, "public_to_r1_gw").columns["external_ids"][ANNOUNCED6]
    assert announced == f"0a:00:00:00:00:01 {R1_ADDRESS} 2001:db8::101 2001:db8::102"


def test_each_gateway_router_of_several_translates_to_an_address_of_its_own_and_announces_it() -> None:
    asked = RouterExternal(network="public", snat6=True, address6="2001:db8::9")
    router = in_mode("active-active", external=asked, routes=(Route(to=FAR6, via=HOME),))
    objects = {**DUAL, R1.key: router, FIP1.key: changed(FIP1_6, distributed=False)}
    found = all_rows(objects)
    second = next(each for each in legs_of(router) if each.number == 2)
    other = derived_address6(PUBLIC6, second.mac)
    snats = {row.columns["external_ip"] for row in found if row.table == "NAT" and row.columns["logical_ip"] == BLUE6}
    assert snats == {"2001:db8::9", other}
    hops = {"fd6f:7665:6e62:40::2", "fd6f:7665:6e62:40::3"}
    assert {hop for to, hop, _port in routes(found, "r1") if to == "::/0"} == hops, "one route over each"
    assert (FAR6, HOME, None) in routes(found, "r1")
    for leg in ("r1_1_gw", "r1_2_gw"):
        assert (FAR6, "fd6f:7665:6e62:40::1", None) in routes(found, leg)
    announced = [named(found, f"public_to_{leg}_gw").columns["external_ids"][ANNOUNCED6] for leg in ("r1_1", "r1_2")]
    assert announced[0].split()[1] == "2001:db8::9" and announced[1].split()[1] == other
    # What comes in by one of them is answered there: floating IPs are on one, and so is what their port sends.
    pins = {row.columns["match"]: row.columns["nexthops"] for row in found if row.table == "Logical_Router_Policy"}
    for floating, inside in (
        ("2001:db8::101", VM1_ADDRESS),
        ("2001:db8::102", VM2_ADDRESS),
    ):
        number = next(at for at, text in enumerate(announced, start=1) if floating in text.split())
        assert pins[f"ip6.src == {inside}"] == {f"fd6f:7665:6e62:40::{number + 1}"}
        assert [floating in text for text in announced].count(True) == 1
    # Traffic between what is behind the router is not led out by that.
    assert pins[f"ip6.dst == {BLUE6}"] == frozenset() == pins[f"ip6.dst == {FAR6}"]


def test_load_balancers_are_on_the_first_of_several_and_their_targets_answer_there() -> None:
    objects = {**DUAL, R1.key: in_mode("active-active"), WEB.key: WEB_6}
    del objects[FIP2.key]
    found = all_rows(objects)
    announced = [named(found, f"public_to_{leg}_gw").columns["external_ids"][ANNOUNCED6] for leg in ("r1_1", "r1_2")]
    assert [VIP6 in text.split() for text in announced] == [True, False]
    pins = {row.columns["match"]: row.columns["nexthops"] for row in found if row.table == "Logical_Router_Policy"}
    assert pins[f"ip6.src == {VM2_ADDRESS}"] == {"fd6f:7665:6e62:40::2"}


def test_declared_routes_outward_leave_by_the_gateway_router() -> None:
    hops = (Route(to=FAR6, via="2001:db8::fd"), Route(to="::/0", via="2001:db8::fc"))
    found = all_rows({**DUAL, R1.key: in_mode("gateway-router", routes=hops)})
    assert routes(found, "r1") == {(to, "fd6f:7665:6e62:40::2", "r1__transit") for to in (FAR6, "::/0", PUBLIC6)}
    assert routes(found, "r1_gw") == {
        (BLUE6, "fd6f:7665:6e62:40::1", None),
        *((hop.to, hop.via, "r1_gw_public") for hop in hops),
    }


@pytest.mark.parametrize("mode", ["gateway-router", "active-active"])
def test_a_gateway_router_without_ipv6_outside_has_none_at_all(mode: str) -> None:
    plain = changed(in_mode(mode), external=RouterExternal(network="public"))
    found = all_rows({**DUAL, PUBLIC.key: PUBLIC, R1.key: plain, FIP1.key: FIP1, FIP2.key: FIP2})
    six = [row for row in found if row.owner in (R1.key, BLUE.key) and "fd6f" in str(row.columns)]
    assert not six
    assert not [row for row in found if row.table == "NAT" and ":" in row.columns["external_ip"]]


@pytest.mark.parametrize("snat6", [True, False])
@pytest.mark.parametrize("mode", ["gateway-router", "active-active"])
def test_every_way_from_one_state_of_gateway_routers_to_another_is_seen(mode: str, snat6: bool) -> None:
    outward = RouterExternal(network="public", snat6=snat6)
    router = in_mode(mode, external=outward, routes=(Route(to=FAR6, via=HOME),))
    objects = {**DUAL, R1.key: router, FIP1.key: changed(FIP1_6, distributed=False), WEB.key: WEB_6}
    both = Inventory(objects.values())
    opposite = changed(router, external=RouterExternal(network="public", snat6=not snat6))
    for other in (PUBLIC, BLUE, R1_6, FIP1, FIP2, WEB, in_mode("active-active"), opposite):
        second = Inventory({**objects, other.key: other}.values())
        for old, new in ((both, second), (second, both)):
            found = dirty([other.key], old, new)
            differ = {key for key in objects if compile_object(key, old, PLACED) != compile_object(key, new, PLACED)}
            assert differ <= found, other
