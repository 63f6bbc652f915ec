"""A lab: a whole cluster on one machine, every node a set of namespaces that runs the production agent.

Making and repairing are one operation: `up` looks at what is there and does what is missing. This module must never
touch anything that the lab's state file does not name (`ovenbird.lab.state`).
"""

from __future__ import annotations

import contextlib
import shutil
import signal
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ovenbird.lab import boot, files, outside, partition, upstream, wiring
from ovenbird.lab import node as nodes
from ovenbird.lab.node import Node
from ovenbird.lab.process import Process, boot_id
from ovenbird.lab.spec import FABRIC, LEG_INTERFACE, OUTSIDE, UNDERLAY_INTERFACE, UPLINK_INTERFACE, LabSpec
from ovenbird.lab.state import ROOT, State, StateFile
from ovenbird.lab.wiring import OUTSIDE_SWITCH, UNDERLAY_SWITCH, Cable
from ovenbird.model.cluster import Role
from ovenbird.model.errors import Degraded, Refused, Timeout, UserError

Progress = Callable[[str], None]
_DEATH_TIMEOUT_S = 20.0


def _silent(_line: str) -> None:
    return None


class Lab:
    """One lab of this host. Make it with `create`, find it with `open`."""

    def __init__(self, file: StateFile, spec: LabSpec) -> None:
        self.name = spec.name
        self.spec = spec
        self.file = file
        self.nodes: dict[str, Node] = {node.name: Node(node.name, node, file) for node in spec.nodes}
        """The nodes that run agents, in the order of the spec."""
        self.outside = Node(OUTSIDE, None, file)
        """The host outside of the cluster: the networks' upstream router."""
        self.fabric = Node(FABRIC, None, file)
        """The namespace of the switches."""

    @classmethod
    def open(cls, name: str, *, root: Path = ROOT) -> Lab:
        """Return an existing lab; raises `UserError` if there is none of that name."""
        file = StateFile(name, root=root)
        return cls(file, file.require().spec)

    @classmethod
    def create(cls, spec: LabSpec, *, agents: bool = True, root: Path = ROOT, progress: Progress = _silent) -> Lab:
        """Bring up the lab that `spec` describes, or repair it if it is there already; see `up`.

        Without `agents` the nodes are bare hosts. Raises `Refused` if a lab of that name has another shape.
        """
        file = StateFile(spec.name, root=root)
        with file.locked():
            state = file.read()
            if state is None:
                file.write(State(spec=spec, boot=boot_id(), agents=agents))
            elif state.spec != spec:
                raise Refused(
                    f"lab {spec.name} exists and has another shape",
                    code="lab_differs",
                    subject=spec.name,
                    evidence=f"it has {', '.join(node.name for node in state.spec.nodes)}",
                    hint=f"take it away with `ovenbird lab down --name {spec.name}`, or choose another name",
                )
            lab = cls(file, spec)
            lab._up(progress)
        return lab

    def up(self, *, progress: Progress = _silent) -> None:
        """Do what is missing: boot nodes that are off, lay cables, start agents. Active faults stay as they are."""
        with self.file.locked():
            self._up(progress)

    def power_on(self, name: str) -> bool:
        """Boot one node and start its agent; False if it was on."""
        with self.file.locked():
            node = self.node(name)
            if node.is_up:
                return False
            if not self.fabric.is_up:
                raise Refused("the switches are gone", subject=self.name, hint=f"ovenbird lab up --name {self.name}")
            self._boot([node], _silent)
            return True

    def power_off(self, name: str) -> bool:
        """Take a node's power: all its processes end at once, its disk stays; False if it was off."""
        with self.file.locked():
            return self._power_off(self.node(name))

    def node(self, name: str) -> Node:
        """Return a node by name, the outside host included; raises `UserError`."""
        found = self.outside if name == OUTSIDE else self.nodes.get(name)
        if found is None:
            have = ", ".join([*self.nodes, OUTSIDE])
            raise UserError(f"lab {self.name} has no node {name}", subject=name, hint=f"nodes: {have}")
        return found

    def central_sockets(self) -> list[Path]:
        """Return where the API sockets of the central nodes that are on are reached from the host."""
        return [
            node.path("/run/ovenbird/api.sock")
            for node in self.nodes.values()
            if node.spec is not None and Role.CENTRAL in node.spec.roles and node.is_up
        ]

    def cables(self, node: Node) -> list[Cable]:
        """Return the legs of a node."""
        if node.spec is None:
            legs = [wiring.leg_cables(leg)[1] for leg in self.spec.legs]
            return [Cable(node=node.name, interface="eth0", switch=OUTSIDE_SWITCH), *legs]
        cables = [
            Cable(node=node.name, interface=UNDERLAY_INTERFACE, switch=UNDERLAY_SWITCH, mtu=self.spec.underlay_mtu)
        ]
        if node.spec.has_uplink:
            cables.append(Cable(node=node.name, interface=UPLINK_INTERFACE, switch=OUTSIDE_SWITCH))
        leg = self.spec.leg(node.name)
        if leg is not None:
            cables.append(wiring.leg_cables(leg)[0])
        return cables

    def _up(self, progress: Progress) -> None:
        everyone = [self.outside, *self.nodes.values()]
        whole = self.file.require().whole
        for node in (self.fabric, *everyone):
            if node.is_up and node.name not in whole:
                progress(f"{node.name} was left half-built; starting it afresh")
                self._power_off(node)
        if not self.fabric.is_up:
            standing = [node for node in everyone if node.is_up]
            if standing:  # their cables died with the switches; a host does not survive having its interfaces torn out
                progress("the switches are gone; power-cycling every node")
                for node in standing:
                    self._kill(node)
        self._boot([node for node in everyone if not node.is_up], progress)
        if self.file.require().agents:
            started = [node.name for node in self.nodes.values() if node.is_up and nodes.start_agent(node)]
            if started:
                self._forget_faults(("kill",), started)
                progress(f"started the agent again on {', '.join(started)}")
        if self.spec.routed and upstream.start(self.outside):
            progress("started the outside host's bird again")

    def _boot(self, off: list[Node], progress: Progress) -> None:
        """Boot nodes side by side; the fabric first if it is missing."""
        fresh_fabric = not self.fabric.is_up
        self._forget_faults(("power-off", "stop", "kill"), [node.name for node in off])
        with ThreadPoolExecutor(max_workers=4) as pool:
            if fresh_fabric:
                _each(pool, self._start, [self.fabric, *off])
                fabric = self.fabric.require_init()
                wiring.build_switches(fabric, self.spec.legs)
                partition.apply(fabric, self.file.require().faults)
                self._mark_whole(self.fabric)
            else:
                _each(pool, self._start, off)
                fabric = self.fabric.require_init()
                wiring.unplug(fabric, [cable for node in off for cable in self.cables(node)])
            wiring.plug(fabric, [(cable, node.require_init()) for node in off for cable in self.cables(node)])
            cut = partition.cut_ports(self.file.require().faults)
            for port in (cable.port for node in off for cable in self.cables(node) if cable.port in cut):
                wiring.set_port(fabric, port, up=False)
            for node in _each(pool, self._finish, off):
                progress(f"{node.name} is on ({self._describe(node)})")

    def _forget_faults(self, kinds: Iterable[str], names: Iterable[str]) -> None:
        """Take faults off the record that are over because the node was booted, or its agent started."""
        with self.file.change() as state:
            gone = {(kind, name) for kind in kinds for name in names}
            state.faults = [item for item in state.faults if (item["kind"], item.get("node")) not in gone]

    def _start(self, node: Node) -> Node:
        state = self.file.require()
        node.directory.mkdir(parents=True, exist_ok=True)

        def record(init: Process) -> None:
            with self.file.change() as changed:
                changed.inits[node.name] = init
                changed.whole.discard(node.name)

        if node.name != FABRIC:
            files.write(node.directory, node.name, self.spec)
        first_central = self.spec.cluster().centrals[0].name
        if node.name == first_central and not state.bootstrapped:
            # Recorded first: a crash between the two leaves a cluster that waits, never one that is created twice.
            with self.file.change() as changed:
                changed.bootstrapped = True
            files.permit_bootstrap(node.directory)
        if node.spec is not None and Role.CENTRAL in node.spec.roles:
            boot.make_volume(node.directory)
        boot.start_init(node.name, node.directory, record=record)
        return node

    def _finish(self, node: Node) -> Node:
        """Give a booted node its addresses and start its agent."""
        init = node.require_init()
        if node.spec is None:
            outside.configure(node, self.spec.outside)
            if self.spec.routed:
                upstream.configure(node, self.spec.legs, self.spec.cluster().bfd)
            self._mark_whole(node)
            return node
        address = f"{node.spec.address}/{self.spec.underlay_prefix_length}"
        interfaces: list[tuple[str, list[str]]] = [(UNDERLAY_INTERFACE, [address])]
        if node.spec.has_uplink:
            interfaces.append((UPLINK_INTERFACE, []))
        leg = self.spec.leg(node.name)
        if leg is not None:
            interfaces.append((LEG_INTERFACE, [f"{leg.address}/{leg.prefix_length}"]))
        wiring.configure(init, interfaces)
        if self.file.require().agents:
            nodes.start_agent(node)
        self._mark_whole(node)
        return node

    def _mark_whole(self, node: Node) -> None:
        with self.file.change() as state:
            state.whole.add(node.name)

    def _describe(self, node: Node) -> str:
        if node.spec is None:
            return ", ".join(item.address for item in self.spec.outside)
        return f"{'+'.join(sorted(role.value for role in node.spec.roles))}, {node.spec.address}"

    def _power_off(self, node: Node) -> bool:
        if not node.is_up:
            return False
        self._kill(node)
        fabric = self.fabric.init
        if fabric is not None and node is not self.fabric:
            wiring.unplug(fabric, self.cables(node))
        return True

    def _kill(self, node: Node) -> None:
        init = node.init
        if init is None:
            return
        init.signal(signal.SIGKILL)
        if not init.wait_gone(timeout_s=_DEATH_TIMEOUT_S):
            raise Timeout(
                f"the processes of {node.name} do not die", subject=node.name, evidence=f"init pid {init.pid}"
            )


def remove(name: str, *, root: Path = ROOT) -> bool:
    """Take a lab away, whole or half-made; False if there was nothing of it. Safe to repeat."""
    file = StateFile(name, root=root)
    if not file.directory.exists():
        return False
    with file.locked():
        state = file.read()
        # The keeper first: it must not heal what is being taken away.
        _end([state.keeper] if state is not None and state.keeper is not None else [])
        _end([] if state is None else state.inits.values())
        existed = state is not None
        _remove_directory(file, existed)
    with contextlib.suppress(OSError):
        root.rmdir()  # only when no lab is left
    return existed


def _end(inits: Iterable[Process]) -> None:
    alive = [init for init in inits if init.signal(signal.SIGKILL)]
    for init in alive:
        if not init.wait_gone(timeout_s=_DEATH_TIMEOUT_S):
            raise Timeout(f"processes do not die: {init.pid}", evidence=f"state {init.state!r}", hint="run this again")


def _remove_directory(file: StateFile, known: bool) -> None:
    contents = {path.name for path in file.directory.iterdir()}
    ours = {"lock", "state.json", "state.new", "keeper.log", "nodes", "faults"}
    if not known and contents - {"lock", "state.new"}:
        raise Refused(
            f"{file.directory} is not a lab: it has no state file",
            code="not_a_lab",
            subject=file.name,
            evidence=f"it holds {', '.join(sorted(contents))}",
            hint="look at it, and remove it by hand if it is not needed",
        )
    mounted = [line for line in _mount_points() if Path(line).is_relative_to(file.directory)]
    if mounted or contents - ours:
        raise Refused(
            f"{file.directory} holds what the lab did not put there",
            code="foreign_content",
            subject=file.name,
            evidence=", ".join([*mounted, *sorted(contents - ours)]),
            hint="remove that first",
        )
    for tree in sorted(contents & {"nodes", "faults"}):
        try:
            shutil.rmtree(file.directory / tree)
        except OSError as error:
            raise Degraded(
                f"the processes of lab {file.name} are gone, its files are not",
                subject=file.name,
                evidence=f"{error.filename}: {error.strerror}",
                hint="run this again",
            ) from error
    # The state file last but for the lock: until here a repeated `down` still knows what to do.
    for last in ("keeper.log", "state.new", "state.json", "lock"):
        (file.directory / last).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # another command may be waiting here for the lock; it will remove the directory
        file.directory.rmdir()


def _mount_points() -> list[str]:
    lines = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    return [line.split()[1] for line in lines]


def _each(pool: ThreadPoolExecutor, act: Callable[[Node], Node], targets: Iterable[Node]) -> list[Node]:
    """Act on nodes side by side; when some fail, all others are finished first, then the first error is raised."""
    futures = [pool.submit(act, target) for target in targets]
    errors = [future.exception() for future in futures]
    for error in errors:
        if error is not None:
            raise error
    return [future.result() for future in futures]
