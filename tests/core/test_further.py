"""Routers with several external networks: what each leg is assigned, what its rows are, and what is refused."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
import yaml
from tests.core.test_admission import applied, ask, document, refused, the

from ovenbird.controller.placing import router_needs
from ovenbird.model.documents import parse_documents
from ovenbird.model.errors import UserError
from ovenbird.model.objects import Key
from ovenbird.model.schema import json_schema
from ovenbird.plan.admission import admit
from ovenbird.plan.compile import CompileContext, compile_object
from ovenbird.plan.dirty import dirty
from ovenbird.plan.inventory import Inventory
from ovenbird.plan.legs import legs_of
from ovenbird.plan.rows import NbRow, Placement

NETWORKS = """\
{kind: ExternalNetwork, name: public, spec: {physnet: ext, cidr: 172.16.0.0/24, gateway: 172.16.0.254,
 pool: [172.16.0.100-172.16.0.109]}}
---
{kind: ExternalNetwork, name: partner, spec: {physnet: dmz, cidr: 10.9.0.0/24, gateway: 10.9.0.254,
 pool: [10.9.0.10-10.9.0.19]}}
---
{kind: ExternalNetwork, name: tiny, spec: {physnet: dmz, vlan: 7, cidr: 10.8.0.0/24, pool: [10.8.0.1-10.8.0.1]}}
"""
ONE = "{kind: Router, name: r1, spec: {external: {network: public}}}"
TWO = "{kind: Router, name: r1, spec: {external: {network: public}, further: [{network: partner}]}}"
BEHIND = """\
{kind: Network, name: blue, spec: {cidr: 192.168.1.0/24, router: r1}}
---
{kind: Port, name: vm1, spec: {network: blue}}
---
{kind: Port, name: vm2, spec: {network: blue}}
"""
FLOATING = """\
{kind: FloatingIP, name: f1, spec: {network: public, port: vm1}}
---
{kind: FloatingIP, name: f2, spec: {network: partner, port: vm2}}
"""
PLACED = CompileContext(
    placement=Placement(
        routers={"r1": (("g1", 100), ("g2", 90)), "r1_partner": (("g2", 100), ("g1", 90))},
    )
)


def addresses(inventory: Inventory, name: str = "r1") -> dict[str, str]:
    return {leg.network: leg.address for leg in legs_of(the(inventory, "Router", name))}


def rows(inventory: Inventory, kind: str, name: str, table: str) -> list[NbRow]:
    return [row for row in compile_object(Key(kind, name), inventory, PLACED) if row.table == table]


def columns(found: list[NbRow], *names: str) -> set[tuple[Any, ...]]:
    return {tuple(row.columns[name] for name in names) for row in found}


def test_each_leg_gets_an_address_of_its_network_and_keeps_it():
    inventory = applied(NETWORKS, TWO)
    assert addresses(inventory) == {"public": "172.16.0.100", "partner": "10.9.0.10"}
    asked = TWO.replace("{network: partner}", "{network: partner, address: 10.9.0.7}")
    assert addresses(applied(NETWORKS, asked))["partner"] == "10.9.0.7"
    # Another one takes the next; the order may change, addresses stay with their networks.
    swapped = "{kind: Router, name: r1, spec: {external: {network: partner}, further: [{network: public}]}}"
    assert addresses(applied(NETWORKS, TWO, TWO.replace("r1", "r2"), swapped)) == addresses(inventory)
    assert addresses(applied(NETWORKS, TWO, ONE)) == {"public": "172.16.0.100"}


def test_a_second_leg_changes_no_row_of_the_first():
    one, two = (
        applied(NETWORKS, ONE, BEHIND, FLOATING.split("---", maxsplit=1)[0]),
        applied(NETWORKS, ONE, BEHIND, FLOATING.split("---", maxsplit=1)[0], TWO),
    )
    for kind, name in (("Router", "r1"), ("Network", "blue"), ("FloatingIP", "f1")):
        before = {row.uuid: row for row in compile_object(Key(kind, name), one, PLACED)}
        after = {row.uuid: row for row in compile_object(Key(kind, name), two, PLACED)}
        assert before.items() <= after.items()
    assert len(rows(two, "Router", "r1", "Logical_Router_Port")) == 2


def test_each_leg_has_its_own_list_of_gateways_and_the_first_has_the_default_route():
    inventory = applied(NETWORKS, TWO, BEHIND)
    needs = {need.name: need.physnet for need in router_needs(inventory)}
    assert needs == {"r1": "ext", "r1_partner": "dmz"}
    assert columns(rows(inventory, "Router", "r1", "HA_Chassis_Group"), "name") == {("r1",), ("r1_partner",)}
    ports = rows(inventory, "Router", "r1", "Logical_Router_Port")
    assert columns(ports, "name", "networks") == {
        ("r1_public", frozenset({"172.16.0.100/24"})),
        ("r1_partner", frozenset({"10.9.0.10/24"})),
    }
    assert len({row.columns["ha_chassis_group"] for row in ports}) == 2
    assert len({row.columns["mac"] for row in ports}) == 2
    assert columns(rows(inventory, "Router", "r1", "Logical_Router_Static_Route"), "ip_prefix", "nexthop") == {
        ("0.0.0.0/0", "172.16.0.254")
    }
    assert columns(rows(inventory, "Network", "blue", "NAT"), "external_ip", "logical_ip") == {
        ("172.16.0.100", "192.168.1.0/24"),
        ("10.9.0.10", "192.168.1.0/24"),
    }


def test_without_an_upstream_router_the_main_leg_leaves_the_default_route_to_the_next():
    inventory = applied(NETWORKS.replace("gateway: 172.16.0.254,\n", ""), TWO)
    assert columns(rows(inventory, "Router", "r1", "Logical_Router_Static_Route"), "nexthop") == {("10.9.0.254",)}


def test_what_a_floating_ip_of_a_further_network_answers_leaves_through_that_network():
    inventory = applied(NETWORKS, TWO, BEHIND, FLOATING)
    inside = the(inventory, "Port", "vm2").assigned.address
    (policy,) = rows(inventory, "FloatingIP", "f2", "Logical_Router_Policy")
    assert policy.columns["match"] == f'ip4.src == {inside} && outport == "r1_public"'
    assert policy.columns["nexthops"] == frozenset({"10.9.0.254"})
    assert rows(inventory, "FloatingIP", "f1", "Logical_Router_Policy") == []


def test_a_changed_upstream_router_compiles_the_floating_ips_of_the_other_networks_again():
    old = applied(NETWORKS, TWO, BEHIND, FLOATING)
    new = applied(NETWORKS, TWO, BEHIND, FLOATING, NETWORKS.replace("gateway: 172.16.0.254,\n", "").split("---")[0])
    changed = Key("ExternalNetwork", "public")
    stale = {
        declared.key
        for declared in new
        if compile_object(declared.key, old, PLACED) != compile_object(declared.key, new, PLACED)
    }
    assert Key("FloatingIP", "f2") in stale
    assert stale <= dirty([changed], old, new)


REFUSED = [
    ("no such network", TWO.replace("partner", "nowhere"), "ExternalNetwork/nowhere does not exist"),
    ("twice the same", TWO.replace("partner", "public"), "ExternalNetwork/public is given twice"),
    ("without a main one", TWO.replace("external: {network: public}, ", ""), "further has no meaning without external"),
    (
        "gateway routers",
        TWO.replace("further:", "gateways: {mode: active-active}, further:"),
        'further has no meaning with mode "active-active"',
    ),
    (
        "an address outside",
        TWO.replace("{network: partner}", "{network: partner, address: 10.1.1.1}"),
        "10.1.1.1 is outside ExternalNetwork/partner",
    ),
    (
        "an address that is taken",
        TWO.replace("{network: partner}", "{network: partner, address: 10.9.0.254}"),
        "10.9.0.254 is the gateway of ExternalNetwork/partner",
    ),
]


@pytest.mark.parametrize(("text", "message"), [each[1:] for each in REFUSED], ids=[each[0] for each in REFUSED])
def test_what_cannot_be_is_refused_with_the_reason(text: str, message: str):
    with pytest.raises(UserError) as caught:
        ask(applied(NETWORKS), text)
    assert message in caught.value.problems[0].message


def test_an_exhausted_pool_names_the_further_network():
    inventory = applied(NETWORKS, TWO.replace("partner", "tiny"))
    (problem,) = refused(inventory, TWO.replace("r1", "r2").replace("partner", "tiny"))
    assert "no address is free in ExternalNetwork/tiny" in problem.message


BALANCER = document("LoadBalancer", "lb", "network: public", "ports: [{port: 80, targets: [{port: vm1}]}]")


def test_load_balancers_are_refused_where_ovn_has_none_from_either_side():
    (problem,) = refused(applied(NETWORKS, TWO, BEHIND), BALANCER)
    assert "Router/r1 leads to 2 external networks: OVN cannot balance there" in problem.message
    (problem,) = refused(applied(NETWORKS, ONE, BEHIND, BALANCER), TWO)
    assert "LoadBalancer/lb: Router/r1 leads to 2 external networks" in problem.message


@pytest.mark.parametrize(
    ("gateways", "message"),
    [
        ({"ext": 2, "dmz": 0}, "no gateway has an uplink to dmz: nothing of Router/r1 gets to ExternalNetwork/partner"),
        ({"ext": 1, "dmz": 2}, "only one gateway has an uplink to ext: nobody can take Router/r1 over"),
    ],
)
def test_a_leg_that_nobody_carries_or_takes_over_is_warned_of(gateways: dict[str, int], message: str):
    admission = admit(
        applied(NETWORKS),
        parse_documents(TWO, "f.yaml"),
        physnets=frozenset({"ext", "dmz"}),
        underlay_mtu=1500,
        revision=9,
        gateways=gateways,
    )
    assert [warning.message for warning in admission.warnings] == [message]


def test_a_list_of_external_networks_is_short_for_the_main_one_and_further_ones():
    short = "{kind: Router, name: r1, spec: {external: [{network: public}, {network: partner, snat: false}]}}"
    long = TWO.replace("{network: partner}", "{network: partner, snat: false}")
    assert parse_documents(short)[0].spec == parse_documents(long)[0].spec
    one = ONE.replace("{network: public}", "[{network: public}]")
    assert parse_documents(one)[0].spec == parse_documents(ONE)[0].spec
    for text in (short, long, one, ONE):
        jsonschema.validate(yaml.safe_load(text), json_schema())
    listed = "kind: Router\nname: r1\nspec:\n  external:\n  - network: public\n  - network: nowhere\n    snat: 3\n"
    with pytest.raises(UserError) as caught:
        parse_documents(listed)
    assert [(problem.line, problem.message) for problem in caught.value.problems] == [
        (7, "'further[0].snat' must be true or false, not 3")
    ]
    (missing,) = refused(applied(NETWORKS), listed.replace("    snat: 3\n", ""))
    assert (missing.line, missing.message) == (6, "ExternalNetwork/nowhere does not exist")
    with pytest.raises(UserError):
        parse_documents(TWO.replace("external: {network: public}", "external: [{network: public}]"))


def test_a_network_that_something_needs_is_not_taken_from_a_router():
    (problem,) = refused(applied(NETWORKS, TWO, BEHIND, FLOATING), ONE)
    assert "FloatingIP/f2: Port/vm2 is behind Router/r1, which leads to 'public', not to 'partner'" in problem.message
    routed = TWO.replace("further:", "routes: [{to: 10.50.0.0/16, via: 10.9.0.254}], further:")
    inventory = applied(NETWORKS, routed)
    assert ("10.50.0.0/16", "10.9.0.254") in columns(
        rows(inventory, "Router", "r1", "Logical_Router_Static_Route"), "ip_prefix", "nexthop"
    )
    without = routed.replace(", further: [{network: partner}]", "")
    (problem,) = refused(inventory, without)
    assert "route via 10.9.0.254 leads nowhere" in problem.message
