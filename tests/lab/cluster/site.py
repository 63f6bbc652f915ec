"""A whole cluster with a declared network and workloads, as the tests of this folder see it.

    outside 172.16.0.254 (untagged), 10.101.0.1 (VLAN 101)
       |
    public, tenant-uplink           r1 (public)                         tenant (tenant-uplink)
                                    blue  192.168.1.0/24  vm1 n1, vm3 n2  red 192.168.3.0/24  vm4 n1
                                    green 192.168.2.0/24  vm2 n2

vm1 and vm4 have no address outside (SNAT), vm2 has a floating IP on the gateway, vm3 one on its own host.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.faces.command import Done, ovenbird
from tests.waiting import eventually_sync

from ovenbird.api.client import Client
from ovenbird.drill.scene import change_controller
from ovenbird.lab.lab import Lab
from ovenbird.lab.node import Node, Workload
from ovenbird.model.errors import OvenbirdError, Unavailable

LAB_FILE = """
gateways: {hold_down_s: 3}
outside: [{address: 172.16.0.254/24}, {address: "2001:db8::fe/64"}, {address: 10.101.0.1/24, vlan: 101}]
nodes:
  - {name: c1, roles: [central]}
  - {name: c2, roles: [central]}
  - {name: c3, roles: [central]}
  - {name: g1, roles: [gateway]}
  - {name: g2, roles: [gateway]}
  - {name: g3, roles: [gateway], uplink: false}
  - {name: n1, roles: [compute]}
  - {name: n2, roles: [compute]}
"""
CENTRALS, GATEWAYS, COMPUTES = ("c1", "c2", "c3"), ("g1", "g2"), ("n1", "n2")
CHASSIS = (*GATEWAYS, "g3", *COMPUTES)

OUTSIDE, OUTSIDE_VLAN, VLAN = "172.16.0.254", "10.101.0.1", 101
OUTSIDE6 = "2001:db8::fe"
R1, FLOATING, DISTRIBUTED = "172.16.0.1", "172.16.0.102", "172.16.0.103"
ADDRESS = {"vm1": "192.168.1.11", "vm2": "192.168.2.12", "vm3": "192.168.1.13", "vm4": "192.168.3.14"}
HOME = {"vm1": "n1", "vm2": "n2", "vm3": "n2", "vm4": "n1"}
ROUTERS = ("r1", "r2", "r3", "tenant")

DECLARED = f"""
kind: ExternalNetwork
name: public
spec: {{physnet: ext, cidr: 172.16.0.0/24, gateway: {OUTSIDE}, pool: [172.16.0.100-172.16.0.199]}}
---
kind: ExternalNetwork
name: tenant-uplink
spec: {{physnet: ext, vlan: {VLAN}, cidr: 10.101.0.0/24, gateway: {OUTSIDE_VLAN}, pool: [10.101.0.10-10.101.0.99]}}
---
kind: Router
name: r1
spec: {{external: {{network: public, address: {R1}}}, gateways: {{failback_delay_s: 5}}}}
---
kind: Router
name: r2
spec: {{external: {{network: public}}, gateways: {{failback_delay_s: 5}}}}
---
kind: Router
name: r3
spec: {{external: {{network: public}}, gateways: {{failback_delay_s: 5}}}}
---
kind: Router
name: tenant
spec: {{external: {{network: tenant-uplink}}, gateways: {{failback_delay_s: 5}}}}
---
kind: Network
name: blue
spec: {{cidr: 192.168.1.0/24, router: r1}}
---
kind: Network
name: green
spec: {{cidr: 192.168.2.0/24, router: r1}}
---
kind: Network
name: red
spec: {{cidr: 192.168.3.0/24, router: tenant}}
---
kind: Port
name: vm1
spec: {{network: blue, address: {ADDRESS["vm1"]}}}
---
kind: Port
name: vm2
spec: {{network: green, address: {ADDRESS["vm2"]}}}
---
kind: Port
name: vm3
spec: {{network: blue, address: {ADDRESS["vm3"]}}}
---
kind: Port
name: vm4
spec: {{network: red, address: {ADDRESS["vm4"]}}}
---
kind: FloatingIP
name: on-gateway
spec: {{network: public, port: vm2, address: {FLOATING}}}
---
kind: FloatingIP
name: on-host
spec: {{network: public, port: vm3, address: {DISTRIBUTED}, distributed: true}}
"""

DUAL_PUBLIC = DECLARED.partition("---")[0].replace("pool:", f'cidr6: "2001:db8::/64", gateway6: "{OUTSIDE6}", pool:')
"""The first of them with IPv6 beside."""


class Site:
    """The running cluster and short words for what tests ask of it."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.outside = lab.outside

    # The product's own faces.

    def cli(self, *words: str, given: str = "", timeout_s: float = 60.0) -> Done:
        """Run the CLI against this cluster."""
        return ovenbird(*words, given=given, env={"OVENBIRD_LAB": self.lab.name}, timeout_s=timeout_s)

    @property
    def api(self) -> Client:
        """The API of whichever central host answers."""
        return Client(self.lab.central_sockets())

    def apply(self, text: str) -> dict[str, Any]:
        """Apply declarations; return the answer."""
        return self.api.post("/v1/apply", {"documents": [{"file": "test", "text": text}], "dry_run": False})

    def delete(self, *keys: tuple[str, str]) -> None:
        """Delete declared objects."""
        self.api.post("/v1/delete", {"objects": [{"kind": kind, "name": name} for kind, name in keys]})

    def status(self) -> dict[str, Any]:
        """Return the status, or an empty answer when nobody could be asked."""
        try:
            return self.api.get("/v1/status", timeout_s=6)
        except Unavailable:
            return {"verdict": "", "reasons": [], "databases": {}, "chassis": [], "routers": []}

    def router(self, name: str) -> dict[str, Any]:
        """Return what the status says of a router."""
        return next((one for one in self.status()["routers"] or () if one["name"] == name), {})

    def active(self, router: str) -> str:
        """Return the gateway that carries a router, "" for none."""
        return str(self.router(router).get("active") or "")

    def standby(self, router: str) -> str:
        """Return the gateway that would carry it next."""
        active = self.active(router)
        return next(one["chassis"] for one in self.router(router)["gateways"] if one["chassis"] != active)

    # OVN's own databases and daemons.

    def central(self) -> Node:
        """Return a central host that is on."""
        return next(node for name in CENTRALS if (node := self.lab.node(name)).is_up)

    def sb(self, table: str, *columns: str, where: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Return rows of SB by `ovn-sbctl find`."""
        return self._find("ovn-sbctl", table, columns, where)

    def nb(self, table: str, *columns: str, where: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Return rows of NB by `ovn-nbctl find`."""
        return self._find("ovn-nbctl", table, columns, where)

    def _find(self, tool: str, table: str, columns: Sequence[str], where: Sequence[str]) -> list[dict[str, Any]]:
        argv = [tool, "--no-leader-only", "--timeout=5", "--format=json", f"--columns={','.join(columns)}"]
        answer = self.central().run([*argv, "find", table, *where], timeout_s=10).checked(subject=tool)
        return rows(answer.stdout)

    def vswitch(self, node: str, table: str, *columns: str, where: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Return rows of a node's Open vSwitch database."""
        argv = ["ovs-vsctl", "--timeout=5", "--format=json", f"--columns={','.join(columns)}", "find", table, *where]
        return rows(self.lab.node(node).run(argv, timeout_s=10).checked(subject=node).stdout)

    def bound_to(self, port: str) -> str:
        """Return the chassis that SB has a port bound to, "" for none."""
        names = {row["_uuid"]: str(row["name"]) for row in self.sb("Chassis", "_uuid", "name")}
        found = self.sb("Port_Binding", "chassis", where=[f"logical_port={port}"])
        return next((names[row["chassis"]] for row in found if row["chassis"]), "")

    def controller(self, node: str, *words: str) -> str:
        """Ask a chassis' ovn-controller."""
        pid = self.lab.node(node).path("/run/ovn/ovn-controller.pid").read_text(encoding="ascii").strip()
        argv = ["ovn-appctl", "-T", "3", "-t", f"/run/ovn/ovn-controller.{pid}.ctl", *words]
        return self.lab.node(node).run(argv, timeout_s=10).stdout.strip()

    def facts(self, node: str) -> dict[str, Any]:
        """Return what the agent of a node says of it in the Ovenbird database."""
        select = {"op": "select", "table": "Node", "where": [["name", "==", node]], "columns": ["facts"]}
        argv = ["ovsdb-client", "--timeout=5", "query", "unix:/run/ovenbird/db.sock", json.dumps(["Ovenbird", select])]
        done = self.central().run(argv, timeout_s=10).checked(subject="query")
        found: dict[str, Any] = json.loads(json.loads(done.stdout)[0]["rows"][0]["facts"])
        return found

    # Packets.

    @contextlib.contextmanager
    def unheard(self, frames: str) -> Iterator[None]:
        """Have the upstream router not hear frames that match (nft(8)), as when a switch on the way drops them.

        What is untagged reaches it through the bridge of its own Open vSwitch.
        """
        begin = "add table netdev t; add chain netdev t c { type filter hook ingress device br-trunk priority 0; }; "
        self.outside.run(["nft", f"{begin}add rule netdev t c {frames} drop"], timeout_s=10).checked(subject="nft")
        try:
            yield
        finally:
            self.outside.run(["nft", "delete", "table", "netdev", "t"], timeout_s=10).checked(subject="nft")

    def workload(self, name: str) -> Workload:
        """Return a workload."""
        return self.lab.node(HOME[name]).workload(name)

    def fdb(self, mac: str) -> str:
        """Return the outside switch's port behind which it has learnt a MAC; "" if it has not."""
        argv = [
            "nsenter",
            "-t",
            str(self.lab.fabric.require_init().pid),
            "-n",
            "bridge",
            "fdb",
            "show",
            "br",
            "outside",
        ]
        shown = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=True).stdout
        return next((line.split()[2] for line in shown.splitlines() if line.startswith(mac)), "")

    @contextlib.contextmanager
    def capture(self, node: str, interface: str, *expression: str) -> Iterator[Capture]:
        """Capture packets on an interface of a node (pcap-filter(7))."""
        with Capture(self.lab.node(node), interface, expression) as running:
            yield running

    def is_at_home(self, *routers: str) -> bool:
        """Whether routers (all, unless named) are where they belong: only from there do they come back to it."""
        shown = self.api.get("/v1/gateways")["routers"]
        chosen = [one for one in shown if not routers or one["name"] in routers]
        return all(one["active"] == one["home"] == one["order"][0] for one in chosen)

    def forgiven(self) -> None:
        """Let a controller act that holds nothing against a gateway, if one is unfit: its hold-down may be long."""
        routers = self.status()["routers"] or ()
        if any(gateway["unfit"] for router in routers for gateway in router["gateways"]):
            change_controller(self.lab, self.api)

    def settled(self, *, within_s: float = 60) -> None:
        """Wait until the cluster is healthy, every workload has its address and everybody is reached."""

        def healthy() -> bool:
            seen = self.status()
            assert seen["verdict"] == "healthy", [one["message"] for one in seen["reasons"]]
            return True

        def attached() -> bool:
            states = {
                one["port"]: (one.get("status") or {}).get("state")
                for one in self.api.get("/v1/attachments")["attachments"]
            }
            assert {port: states.get(port) for port in HOME} == dict.fromkeys(HOME, "attached")
            return True

        for check in (attached, healthy):
            eventually_sync(lambda check=check: quiet(check), within_s=within_s)
        for vm, target in (("vm1", OUTSIDE), ("vm4", OUTSIDE_VLAN), ("vm2", OUTSIDE), ("vm3", OUTSIDE)):
            eventually_sync(lambda vm=vm, target=target: ping(self.workload(vm), target), within_s=20)


def quiet(check: Any) -> Any:
    """Return what `check` says; an error of ours counts as "not yet"."""
    try:
        return check()
    except OvenbirdError as error:
        raise AssertionError(str(error)) from error


def rows(text: str) -> list[dict[str, Any]]:
    """Turn the JSON of ovs-vsctl and its sisters into plain rows: sets to lists, maps to dicts, uuids to text."""
    table = json.loads(text or '{"headings": [], "data": []}')
    return [dict(zip(table["headings"], map(_plain, row), strict=True)) for row in table["data"]]


def _plain(value: Any) -> Any:
    match value:
        case ["set", items]:
            return [_plain(item) for item in items]
        case ["map", pairs]:
            return {_plain(key): _plain(item) for key, item in pairs}
        case ["uuid", text]:
            return text
    return value


def ping(place: Node | Workload, target: str, *, size: int | None = None, options: Sequence[str] = ()) -> bool:
    """Whether an echo comes back within a second; `size`: of the whole IP packet, which must not be fragmented."""
    return ping_output(place, target, size=size, options=options)[0] == 0


def own_address6(place: Workload) -> str:
    """The IPv6 address that a workload has made of what its router told it, once it may use it."""

    def found() -> str:
        argv = ["ip", "-6", "-o", "address", "show", "dev", "eth0", "scope", "global", "-tentative"]
        shown = place.run(argv, timeout_s=10).stdout
        return match[1] if (match := re.search(r"inet6 ([0-9a-f:]+)/64", shown)) else ""

    return eventually_sync(found, within_s=20, every_s=0.2)


def ping_output(
    place: Node | Workload, target: str, *, size: int | None = None, options: Sequence[str] = ()
) -> tuple[int, str]:
    """As `ping`; returns exit status and everything that was said.

    The identifier is not ping's own, its pid: workloads of two hosts often have the same, and behind one SNAT address a
    userspace conntrack, which translates no ICMP identifiers, leaves the second without an answer for 30 s.
    """
    sized = [] if size is None else ["-M", "do", "-s", str(size - 28)]
    done = place.run(
        ["ping", "-n", "-c1", "-W1", "-e", str(random.randrange(1, 1 << 16)), *sized, *options, target], timeout_s=10
    )
    return done.status, done.stdout + done.stderr


class Capture:
    """tcpdump on one interface of a node; `lines` has one line per packet, link-layer header included."""

    def __init__(self, node: Node, interface: str, expression: Sequence[str]) -> None:
        self._node = node
        self._argv = ["tcpdump", "-i", interface, "-nn", "-e", "-l", "--immediate-mode", "-tt", *expression]
        self._directory = tempfile.TemporaryDirectory(prefix="ovenbird-capture-")
        self._packets, self._said = (Path(self._directory.name) / name for name in ("packets", "said"))
        self._kept: list[str] | None = None

    def __enter__(self) -> Capture:
        with self._packets.open("wb") as packets, self._said.open("wb") as said:
            self._process = self._node.popen(
                self._argv, stdin=subprocess.DEVNULL, stdout=packets, stderr=said, start_new_session=True
            )
        eventually_sync(lambda: "listening on" in self._said.read_text(encoding="utf-8"), within_s=10)
        return self

    def __exit__(self, *_error: object) -> None:
        self._kept = self.lines
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(timeout=10)
        self._directory.cleanup()

    @property
    def lines(self) -> list[str]:
        """The packets seen so far; after the capture has ended, all of them."""
        if self._kept is not None:
            return self._kept
        return self._packets.read_text(encoding="utf-8", errors="replace").splitlines()

    def matching(self, *patterns: str) -> list[str]:
        """The packets whose line matches every pattern."""
        return [line for line in self.lines if all(re.search(pattern, line) for pattern in patterns)]


def seconds_of(line: str) -> float:
    """Return the kernel's timestamp of a captured packet, unix seconds."""
    return float(line.split(maxsplit=1)[0])
