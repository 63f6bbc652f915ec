"""BGP in the cluster file: what is read, rendered and refused, each mistake at its line."""

from __future__ import annotations

import pytest

from ovenbird.model.cluster import Bfd, Bgp, Neighbor
from ovenbird.model.cluster_file import parse_cluster, render_cluster
from ovenbird.model.errors import UserError

GOOD = """\
name: c
hosts:
- name: a
  address: 10.0.0.1
  roles: [central, gateway]
  uplinks: {ext: eth1}
  bgp:
    asn: 64601
    physnets: [routed]
    neighbors:
    - {address: 10.98.1.1, asn: 64600}
    - {address: 10.98.1.5, asn: 4200000000}
    bfd: {min_rx_ms: 50, min_tx_ms: 60, mult: 4}
- name: b
  address: 10.0.0.2
  roles: [compute]
"""


def with_line(line: int, text: str) -> str:
    lines = GOOD.splitlines()
    lines[line - 1] = text
    return "\n".join(lines)


def test_a_gateway_may_route_to_one_network_and_have_an_interface_in_another():
    read = parse_cluster(GOOD)
    assert read.warnings == ()
    first, second = read.cluster.hosts
    assert first.bgp == Bgp(
        asn=64601,
        physnets=("routed",),
        neighbors=(Neighbor(address="10.98.1.1", asn=64600), Neighbor(address="10.98.1.5", asn=4200000000)),
        bfd=Bfd(min_rx_ms=50, min_tx_ms=60, mult=4),
    )
    assert first.physnets == {"ext", "routed"}
    assert (second.bgp, second.physnets) == (None, frozenset())
    assert read.cluster.physnets == {"ext", "routed"}
    assert read.cluster.routed == {"routed"}
    assert parse_cluster(render_cluster(read.cluster)).cluster == read.cluster


def test_without_timers_of_its_own_nothing_is_written_of_them():
    cluster = parse_cluster(with_line(13, "")).cluster
    bgp = cluster.hosts[0].bgp
    assert bgp is not None
    assert bgp.bfd is None
    assert parse_cluster(render_cluster(cluster)).cluster == cluster


def test_a_gateway_that_only_routes_has_a_way_out():
    assert parse_cluster(with_line(6, "")).warnings == ()


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (with_line(8, "    asn: 0"), 8, "'hosts[0].bgp.asn' must be at least 1"),
        (with_line(8, "    asn: 4294967295"), 8, "at most 4294967294"),
        (with_line(8, "    asn: 65535"), 8, "65535 is reserved"),
        (with_line(8, "    asn: 23456"), 8, "23456 is reserved"),
        (with_line(8, "    asn: AS64601"), 8, "'hosts[0].bgp.asn'"),
        (with_line(8, ""), 7, "'hosts[0].bgp.asn' is missing"),
        (with_line(8, "    as: 1\n    asn: 64601"), 8, "unknown field 'as'"),
        (with_line(9, "    physnets: []"), 9, "names no physnet"),
        (with_line(9, "    physnets: [routed, routed]"), 9, "routed is named twice"),
        (with_line(9, "    physnets: [ext]"), 9, "an uplink to ext and routes to it as well"),
        (with_line(11, "    - {address: 10.0.0.1, asn: 64600}"), 11, "is a itself"),
        (with_line(12, "    - {address: 10.98.1.1, asn: 64600}"), 12, "10.98.1.1 is named twice"),
        (with_line(11, "    - {address: 10.98.1, asn: 64600}"), 11, "'10.98.1' is not an IPv4 address"),
        (
            with_line(11, '    - {address: "2001:db8::1", asn: 64600}'),
            11,
            "'2001:db8::1' is an IPv6 address; here goes an IPv4 one",
        ),
        (with_line(11, "    - {address: 10.98.1.1}"), 11, "'hosts[0].bgp.neighbors[0].asn' is missing"),
        (with_line(13, "    bfd: {mult: 0}"), 13, "'hosts[0].bgp.bfd.mult' must be at least 1"),
        (with_line(5, "  roles: [central, compute]"), 7, "a has bgp, and is no gateway"),
        (GOOD + "  uplinks: {routed: eth1}\n", 9, "a routes to routed, and b has an uplink to it"),
    ],
)
def test_a_mistake_is_explained_at_its_line(text: str, line: int, message: str):
    with pytest.raises(UserError) as caught:
        parse_cluster(text, "c.yaml")
    found = [(problem.line, problem.message, problem.hint) for problem in caught.value.problems]
    assert len(found) == 1, found
    assert found[0][0] == line
    assert message in found[0][1]


def test_nobody_to_tell_is_a_mistake():
    text = GOOD.replace(GOOD[GOOD.index("    neighbors:") : GOOD.index("    bfd:")], "    neighbors: []\n")
    with pytest.raises(UserError) as caught:
        parse_cluster(text)
    (problem,) = caught.value.problems
    assert problem.line == 10
    assert "no neighbor" in problem.message
    assert "64600" in problem.hint


def test_every_mistake_is_told_at_once():
    text = with_line(9, "    physnets: [ext, ext]").replace("10.98.1.5", "10.98.1.1")
    with pytest.raises(UserError) as caught:
        parse_cluster(text)
    assert [problem.line for problem in caught.value.problems] == [9, 9, 9, 12]
