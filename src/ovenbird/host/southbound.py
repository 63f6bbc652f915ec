"""Keeps SB within a host's reach: on gateways also with the central tier away, and after SB was built anew.

A gateway's ovn-controller talks to the members itself. Beside it runs a relay of SB that nobody but this agent reads:
it holds all of SB in memory. When no member can be had, SB is copied out of the relay into a file, served from there,
and ovn-controller is pointed to it; when a member is back, to the members again (docs/adr/0006-southbound-copy.md).
It must never write to the relay, nor let ovn-controller near a SB that is empty.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any

from ovenbird.model.cluster import Cluster, Database
from ovenbird.model.errors import OvenbirdError
from ovenbird.model.layout import Layout
from ovenbird.ovsdb import Client, OvsdbError
from ovenbird.plan.southbound_path import Path, Seen, Step, next_step, works_alone
from ovenbird.process import daemon
from ovenbird.process.command import run
from ovenbird.process.daemon import DaemonSpec
from ovenbird.process.pace import next_beat
from ovenbird.process.supervisor import Kept

COPY_TAKEN = "southbound.copy_taken"
COPY_LEFT = "southbound.copy_left"
COPY_FAILED = "southbound.copy_failed"
REBUILT = "southbound.rebuilt"
LOOK_S = 0.25
COPY_TIMEOUT_S = 30.0
RETRY_S = 2.0
"""After a copy that could not be made."""
PROBE_MS = 2500
"""Members that are silent for twice this are lost: sooner than for ovn-controller (10 s), later than a long commit."""
SILENT_S = 2.0
"""The client asks a server that says nothing after one second, and a live one answers at once."""
FILLED_QUERY = '["OVN_Southbound", {"op": "select", "table": "SB_Global", "where": [], "columns": ["nb_cfg"]}]'

_log = logging.getLogger(__name__)


def relay_spec(cluster: Cluster, layout: Layout) -> DaemonSpec:
    """Return the relay of SB (ovsdb-server(1), "relay:"). Its socket is root's alone: it would forward writes."""
    stem = layout.southbound_relay
    source = f"relay:{Database.SB.value}:{','.join(cluster.remotes(Database.SB))}"
    return _server("ovnsb_relay", source, str(stem), layout)


def copy_spec(layout: Layout) -> DaemonSpec:
    """Return the server of the copy."""
    return _server("ovnsb_copy", str(layout.southbound_copy_file), str(layout.southbound_copy), layout)


def _server(name: str, database: str, stem: str, layout: Layout) -> DaemonSpec:
    return DaemonSpec(
        name=name,
        argv=("ovsdb-server", f"--remote=punix:{stem}.sock", database),
        pidfile=layout.ovn_run / f"{name}.pid",
        control=f"{stem}.ctl",
        log=layout.ovn_log / f"{name}.log",
    )


class Southbound:
    """One host's way to SB. `use` points ovn-controller to a remote, "" being the members."""

    def __init__(
        self,
        cluster: Cluster,
        layout: Layout,
        controller: DaemonSpec,
        use: Callable[[str], None],
        *,
        is_gateway: bool,
        news: asyncio.Event,
    ) -> None:
        self._cluster = cluster
        self._layout = layout
        self._controller = controller
        self._use = use
        self._is_gateway = is_gateway
        self._news = news
        self._relay = Kept(relay_spec(cluster, layout))
        self._copy = Kept(copy_spec(layout))
        self._copy_task: asyncio.Task[None] | None = None
        self._path = Path.MEMBERS
        self._members: Client | None = None
        self._relayed: Client
        self._filled: daemon.Running | None = None
        """The relay that was seen to hold SB."""
        self._had_members = False
        self._changed_s = time.monotonic()
        self._told: dict[str, Any] = {}
        if is_gateway and daemon.find(self._copy.spec) is not None:
            # The agent alone was started again: nothing has changed for ovn-controller.
            self._go(Path.COPY)

    @property
    def specs(self) -> tuple[DaemonSpec, ...]:
        """Daemons that should run now."""
        if not self._is_gateway:
            return ()
        return (self._relay.spec, self._copy.spec) if self._path is Path.COPY else (self._relay.spec,)

    @property
    def is_alive(self) -> bool:
        """Whether what ovn-controller was given as SB gives signs of life; a member that went silent may hold it up."""
        if self._path is Path.COPY:
            return self._copy.up.is_set()
        session = self._members.session if self._members is not None else None
        return session is not None and session.connection.silent_s < SILENT_S

    @property
    def on_members(self) -> bool:
        """Whether ovn-controller is given SB by the members, and not by a copy of before."""
        return self._path is Path.MEMBERS

    def told(self) -> dict[str, Any]:
        """Return what the facts of a gateway hold of it (docs/architecture.md, "Facts of a host")."""
        return self._told

    async def run(self) -> None:
        """Keep it until cancelled."""
        remotes = self._cluster.remotes(Database.SB)
        relay = f"unix:{self._layout.southbound_relay}.sock"
        name = Database.SB.value
        async with contextlib.AsyncExitStack() as stack:
            members = Client(name, remotes, leader_only=False, probe_interval_ms=PROBE_MS)
            self._members = members
            await stack.enter_async_context(members)
            if self._is_gateway:
                self._relayed = await stack.enter_async_context(Client(name, [relay], leader_only=False))
            group = await stack.enter_async_context(asyncio.TaskGroup())
            if self._is_gateway:
                group.create_task(self._relay.run())
                if self._path is Path.COPY:
                    self._copy_task = group.create_task(self._copy.run())
            while True:
                await self._look(group, members)
                await next_beat(LOOK_S)

    async def _look(self, group: asyncio.TaskGroup, client: Client) -> None:
        members = client.connected
        if members != self._had_members:
            self._had_members, self._changed_s = members, time.monotonic()
        server = client.server
        if members and server is not None and server.cid:
            await self._identify(server.cid)
        if not self._is_gateway:
            return
        if self._relayed.connected and self._relay.running is not None:
            self._filled = self._relay.running
        seen = self._seen(members)
        try:
            match next_step(seen):
                case Step.TAKE_COPY:
                    await self._make_copy()
                    await self._serve_copy(group)
                case Step.SERVE_OLD_COPY:
                    await self._serve_copy(group)
                case Step.LEAVE_COPY:
                    await self._leave_copy()
                case Step.STAY:
                    pass
        except (OvenbirdError, OvsdbError, TimeoutError) as error:
            _log.error(COPY_FAILED, extra={"error": str(error)})
            await asyncio.sleep(RETRY_S)
        self._tell(self._seen(members))

    def _seen(self, members: bool) -> Seen:
        return Seen(
            path=self._path,
            members=members,
            for_s=time.monotonic() - self._changed_s,
            relay_filled=self._filled is not None and self._filled == self._relay.running,
            copy_on_disk=self._layout.southbound_copy_file.exists(),
        )

    def _tell(self, seen: Seen) -> None:
        ready, why = works_alone(seen, copy_served=self._copy.up.is_set())
        relay = "connected" if self._relayed.connected else "not connected"
        told = {"path": seen.path.value, "relay": relay, "works_alone": ready, "why": why}
        if told != self._told:
            self._told = told
            self._news.set()

    # The copy.

    async def _make_copy(self) -> None:
        """Write what the relay holds into the file, whole or not at all."""
        file = self._layout.southbound_copy_file
        unfinished = file.with_suffix(".unfinished")
        began = time.monotonic()
        script = 'exec ovsdb-client --timeout=30 backup "$0" OVN_Southbound > "$1"'
        await run(
            "sh",
            "-c",
            f"umask 077; {script}",
            f"unix:{self._layout.southbound_relay}.sock",
            str(unfinished),
            timeout_s=COPY_TIMEOUT_S,
        )
        answer = await run("ovsdb-tool", "query", str(unfinished), FILLED_QUERY, timeout_s=COPY_TIMEOUT_S)
        if "nb_cfg" not in answer:
            raise OvenbirdError("the relay holds an empty SB", code="empty_southbound", evidence=answer[:200])
        unfinished.rename(file)
        took_ms = round(1000 * (time.monotonic() - began))
        _log.warning(COPY_TAKEN, extra={"bytes": file.stat().st_size, "took_ms": took_ms})

    async def _serve_copy(self, group: asyncio.TaskGroup) -> None:
        if self._copy_task is None:
            self._copy_task = group.create_task(self._copy.run())
        async with asyncio.timeout(COPY_TIMEOUT_S):
            await self._copy.up.wait()
        self._go(Path.COPY)

    async def _leave_copy(self) -> None:
        """Point ovn-controller to the members, then end the copy: what it wrote there it writes to them again."""
        self._go(Path.MEMBERS)
        if self._copy_task is not None:
            self._copy_task.cancel()
            await asyncio.gather(self._copy_task, return_exceptions=True)
            self._copy_task = None
        await daemon.stop(self._copy.spec)
        self._copy.up.clear()
        file = self._layout.southbound_copy_file
        with contextlib.suppress(FileNotFoundError):
            file.rename(file.with_suffix(".last"))
        _log.info(COPY_LEFT)

    def _go(self, path: Path) -> None:
        self._path = path
        self._use(f"unix:{self._layout.southbound_copy}.sock" if path is Path.COPY else "")

    # A SB that was built anew.

    async def _identify(self, cid: str) -> None:
        """Make ovn-controller and the relay forget the indexes of a cluster that is no more.

        They would refuse the new one as stale for ever (ovn-controller(8), `sb-cluster-state-reset`).
        """
        file = self._layout.southbound_cluster
        known = file.read_text(encoding="ascii").strip() if file.exists() else ""
        if known == cid:
            return
        if known:
            _log.warning(REBUILT, extra={"was": known, "cid": cid})
            if self._is_gateway:
                await daemon.kill(self._relay.spec)
            with contextlib.suppress(OvsdbError, OSError):
                await daemon.ask(self._controller, "sb-cluster-state-reset")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{cid}\n", encoding="ascii")
