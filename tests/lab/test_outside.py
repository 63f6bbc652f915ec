"""The outside host answers on untagged and on tagged networks, without an 8021q module."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.lab.conftest import unique_name
from tests.waiting import eventually_sync

from ovenbird.lab.lab import Lab
from ovenbird.lab.node import Node
from ovenbird.lab.spec import parse

pytestmark = [pytest.mark.lab, pytest.mark.daemons]

SWITCH = """
set -e
mkdir -p /run/openvswitch
ovsdb-tool create /etc/openvswitch/conf.db /usr/share/openvswitch/vswitch.ovsschema
ovsdb-server /etc/openvswitch/conf.db --remote=punix:/run/openvswitch/db.sock --no-chdir --pidfile --detach --log-file
ovs-vsctl --no-wait init
ovs-vswitchd --no-chdir --pidfile --detach --log-file
ovs-vsctl --timeout=10 add-br br-ext -- set Bridge br-ext datapath_type=netdev -- add-port br-ext eth1 \
  -- add-port br-ext tagged tag=100 -- set Interface tagged type=internal \
  -- add-port br-ext other tag=200 -- set Interface other type=internal
ip address add 172.17.0.9/24 dev tagged
ip address add 172.18.0.9/24 dev other
ip address add 172.16.0.9/24 dev br-ext
ip link set tagged up
ip link set other up
ip link set br-ext up
"""


def answers(node: Node, address: str) -> bool:
    return node.run(["ping", "-c", "1", "-W", "1", address], timeout_s=10).ok


def test_tagged_and_untagged_networks(root: Path) -> None:
    outside = [{"address": "172.16.0.254/24"}, {"address": "172.17.0.254/24", "vlan": 100}]
    outside.append({"address": "172.18.0.254/24", "vlan": 300})
    nodes = [{"name": "c1", "roles": ["central"]}, {"name": "g1", "roles": ["gateway"]}]
    lab = Lab.create(parse({"name": unique_name(), "nodes": nodes, "outside": outside}), agents=False, root=root)
    node = lab.nodes["g1"]
    node.run(["sh", "-c", SWITCH], timeout_s=30).checked()
    eventually_sync(lambda: answers(node, "172.17.0.254"), within_s=10)
    eventually_sync(lambda: answers(node, "172.16.0.254"), within_s=10)
    assert not answers(node, "172.18.0.254"), "tag 200 must not reach tag 300"
