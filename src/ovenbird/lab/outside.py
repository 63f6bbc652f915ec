"""The outside host: the upstream router of the physical network, where external traffic goes to and comes from.

Untagged addresses lie on its interface. For tagged ones it runs an Open vSwitch of its own (userspace datapath, so
that no 8021q module is needed): a trunk port on the wire and one access port per VLAN.
This module must never do anything to a node that runs an agent.
"""

from __future__ import annotations

from collections.abc import Sequence

from ovenbird.lab import wiring
from ovenbird.lab.node import Node
from ovenbird.lab.spec import OutsideAddress

INTERFACE = "eth0"
_BRIDGE = "br-trunk"
_START = """
set -eu
mkdir -p /run/openvswitch /var/log/openvswitch
[ -e /etc/openvswitch/conf.db ] || ovsdb-tool create /etc/openvswitch/conf.db /usr/share/openvswitch/vswitch.ovsschema
options="--no-chdir --pidfile --detach --log-file -vconsole:off"
ovsdb-server /etc/openvswitch/conf.db --remote=punix:/run/openvswitch/db.sock $options
ovs-vsctl --no-wait init
ovs-vswitchd $options
"""


def configure(node: Node, addresses: Sequence[OutsideAddress]) -> None:
    """Give the freshly booted outside host its addresses."""
    untagged = [item.address for item in addresses if item.vlan is None]
    wiring.configure(node.require_init(), [(INTERFACE, untagged)])
    tagged: dict[int, list[str]] = {}
    for item in addresses:
        if item.vlan is not None:
            tagged.setdefault(item.vlan, []).append(item.address)
    if not tagged:
        return
    node.run(["sh", "-c", _START], timeout_s=30).checked(subject=node.name)
    node.run(["ovs-vsctl", "--timeout=20", *_bridge(tagged, untagged)], timeout_s=30).checked(subject=node.name)
    batch = []
    if untagged:  # the wire now belongs to the switch; its untagged traffic arrives on the bridge's own port
        batch.append(f"addr flush dev {INTERFACE}")
    for interface, values in [(_BRIDGE, untagged), *((f"vlan{tag}", values) for tag, values in tagged.items())]:
        batch.extend(wiring.address_line(address, interface) for address in values)
        batch.append(f"link set {interface} up")
    wiring.in_network_of(node.require_init(), ["ip", "-batch", "-"], stdin="\n".join(batch) + "\n").checked(
        subject=node.name
    )


def _bridge(tagged: dict[int, list[str]], untagged: Sequence[str]) -> list[str]:
    command = ["--may-exist", "add-br", _BRIDGE, "--", "set", "Bridge", _BRIDGE, "datapath_type=netdev"]
    command += ["--", "--may-exist", "add-port", _BRIDGE, INTERFACE]
    for tag in tagged:
        name = f"vlan{tag}"
        command += ["--", "--may-exist", "add-port", _BRIDGE, name, f"tag={tag}"]
        command += ["--", "set", "Interface", name, "type=internal"]
    return command
