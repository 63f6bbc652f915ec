"""The cluster file: what is read, rendered, warned about and refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovenbird.model.cluster import Bfd, Cluster, GatewayTimes, Host, Role, Timers
from ovenbird.model.cluster_file import parse_cluster, render_cluster
from ovenbird.model.errors import UserError

GOOD = """\
name: c
hosts:
- name: a
  address: 10.0.0.1
  roles: [central, gateway, compute]
  uplinks: {ext: eth1}
  underlay_interface: eth0
"""


def with_line(line: int, text: str) -> str:
    lines = GOOD.splitlines()
    lines[line - 1] = text
    return "\n".join(lines)


def test_the_example_is_read_without_warning():
    read = parse_cluster((Path(__file__).parents[2] / "examples/cluster.yaml").read_text())
    assert read.warnings == ()
    cluster = read.cluster
    assert [host.name for host in cluster.centrals] == ["central1", "central2", "central3"]
    assert cluster.physnets == {"ext"}
    assert cluster.bfd == Bfd(min_rx_ms=200, min_tx_ms=200, mult=3)
    host = cluster.host("gateway1")
    assert host == Host(name="gateway1", address="10.0.0.11", roles=frozenset({Role.GATEWAY}), uplinks={"ext": "eth1"})


def test_defaults_are_those_of_the_model():
    cluster = parse_cluster("{name: c, hosts: [{name: a, address: 10.0.0.1, roles: [central]}]}").cluster
    assert cluster == Cluster(name="c", hosts=(Host(name="a", address="10.0.0.1", roles=frozenset({Role.CENTRAL})),))


@pytest.mark.parametrize(
    ("text", "line", "message", "hint"),
    [
        ("", 1, "one YAML mapping", ""),
        ("a: 1\n---\nb: 1\n", 1, "one YAML mapping", ""),
        ("name: [", 2, "not YAML", ""),
        (with_line(1, "name: C_1"), 1, "'C_1' is not a valid name", "'c-1'"),
        (with_line(1, "nme: c\nname: c"), 1, "unknown field 'nme'", "'name'"),
        ("name: c\n", 1, "'hosts' is missing", "cluster's hosts"),
        ("name: c\nhosts: []\n", 2, "no host has the role central", "1, 3 or 5"),
        (with_line(3, "- name: a@b"), 3, "'a@b' is not a valid host name", "chassis name"),
        (with_line(3, "- name: Host_1"), 3, "'Host_1' is not a valid host name", "'host-1'"),
        (with_line(4, "  address: 10.0.0"), 4, "'10.0.0' is not an IPv4 address", ""),
        (with_line(4, "  addres: 10.0.0.1\n  address: 10.0.0.1"), 4, "unknown field 'addres'", "'address'"),
        (with_line(5, "  roles: [central, gatway]"), 5, "unknown role 'gatway'", "'gateway'"),
        (with_line(5, "  roles: []"), 5, "host a has no role", "central"),
        (with_line(5, "  roles: central"), 5, "'hosts[0].roles' must be a list", ""),
        (with_line(5, "  roles: [gateway]"), 2, "no host has the role central", "1, 3 or 5"),
        (with_line(6, "  uplinks: {ext: eth/1}"), 6, "not a network interface's name", ""),
        (
            with_line(6, "  uplinks:\n    ext: eth1\n    dmz: eth1"),
            8,
            "'eth1' is the uplink of dmz and also ext's",
            "own",
        ),
        (with_line(6, "  uplinks: {ext: eth0}"), 6, "also the underlay's", "own"),
        (GOOD + "underlay_mtu: 100\n", 8, "at least 1280", ""),
        (GOOD + "datapath: kernel\n", 8, "'auto', 'system' or 'netdev', not 'kernel'", ""),
        (GOOD + "bfd: {mult: 0}\n", 8, "'bfd.mult' must be at least 1", ""),
        (GOOD + "gateways: {lost_after_s: 5}\n", 8, "'gateways.lost_after_s' must be at least 10", ""),
        (GOOD + "gateways: {hold_down: 5}\n", 8, "unknown field 'hold_down'", "hold_down_s"),
        (
            GOOD + "gateways:\n  lost_after_s: 60\n  hold_down_s: 900\n",
            10,
            "the longest hold-down, 600 s, is less than the first one",
            "900 s (hold_down_s) or more",
        ),
        (
            GOOD + "- {name: a, address: 10.0.0.2, roles: [compute]}\n",
            8,
            "the name a is given to two hosts",
            "own name",
        ),
        (GOOD + "- {name: b, address: 10.0.0.1, roles: [compute]}\n", 8, "first on line 4", "own address"),
    ],
)
def test_a_mistake_is_explained_at_its_line(text: str, line: int, message: str, hint: str):
    with pytest.raises(UserError) as caught:
        parse_cluster(text, "c.yaml")
    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == ("c.yaml", line)
    assert message in problem.message
    assert hint in problem.hint


def test_every_problem_is_reported_at_once():
    hosts = "- {name: a@b, address: 10.0.0.1, roles: [centrl]}\n- {name: b, address: 10.0.0.1, roles: []}\n"
    text = f"name: c\nhosts:\n{hosts}"
    with pytest.raises(UserError) as caught:
        parse_cluster(text)
    assert [each.line for each in caught.value.problems] == [3, 3, 4, 4]


def test_more_than_seven_members_are_refused():
    hosts = "".join(f"- {{name: h{at}, address: 10.0.0.{at}, roles: [central]}}\n" for at in range(1, 10))
    with pytest.raises(UserError, match="1 problem"):
        parse_cluster(f"name: c\nhosts:\n{hosts}")


@pytest.mark.parametrize("count", [2, 4])
def test_an_even_number_of_members_is_warned_about(count: int):
    hosts = "".join(f"- {{name: h{at}, address: 10.0.0.{at}, roles: [central]}}\n" for at in range(1, count + 1))
    messages = [each.message for each in parse_cluster(f"name: c\nhosts:\n{hosts}").warnings]
    assert any(f"{count} central hosts" in message for message in messages)


def test_what_cannot_reach_the_outside_is_warned_about():
    bare = parse_cluster("{name: c, hosts: [{name: a, address: 10.0.0.1, roles: [central]}]}")
    assert "no host has the role gateway" in bare.warnings[0].message
    blind = parse_cluster(with_line(6, "  uplinks: {}"))
    assert "gateway a has no uplinks" in blind.warnings[0].message
    hasty = parse_cluster(GOOD + "bfd: {min_rx_ms: 10, min_tx_ms: 10, mult: 3}\n")
    assert "30 ms" in hasty.warnings[0].message
    assert hasty.warnings[0].line == 8


HOSTS = st.builds(
    Host,
    name=st.from_regex(r"\A[a-z][a-z0-9-]{0,5}[a-z0-9]\Z"),
    address=st.ip_addresses(v=4).map(str),
    roles=st.sets(st.sampled_from(Role), min_size=1).map(lambda roles: frozenset({*roles, Role.CENTRAL})),
    uplinks=st.dictionaries(st.sampled_from(["ext", "dmz", "no"]), st.just("eth1"), max_size=1),
    underlay_interface=st.sampled_from(["", "eth0"]),
)


@given(
    st.builds(
        Cluster,
        name=st.sampled_from(["lab", "on", "12"]),
        hosts=st.lists(
            HOSTS, min_size=1, max_size=7, unique_by=(lambda host: host.name, lambda host: host.address)
        ).map(tuple),
        datapath=st.sampled_from(["auto", "system", "netdev"]),
        underlay_mtu=st.integers(1280, 9216),
        election_timer_ms=st.integers(100, 600000),
        timers=st.sampled_from(Timers),
        gateways=st.builds(
            GatewayTimes,
            hold_down_s=st.integers(1, 600),
            longest_hold_down_s=st.integers(600, 86400),
            lost_after_s=st.integers(10, 86400),
        ),
        own_bfd=st.none()
        | st.builds(Bfd, min_rx_ms=st.integers(10, 60000), min_tx_ms=st.integers(10, 60000), mult=st.integers(1, 255)),
    )
)
def test_what_is_rendered_reads_back_the_same(cluster: Cluster):
    assert parse_cluster(render_cluster(cluster)).cluster == cluster
