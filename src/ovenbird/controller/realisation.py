"""Has what is declared reached every chassis? Waits, and says who is late or dead and how that is known.

NB must hold the declared revision; then `NB_Global.nb_cfg` is raised and followed through SB to each chassis. Callers
who wait at the same time share one raise, because each makes northd compute everything once. It must never wait
without end, and never call a chassis dead without evidence (`ovenbird.plan.realised`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from ovenbird.controller.nb_watch import NbWatch
from ovenbird.controller.sb_watch import SbWatch
from ovenbird.controller.store import Store
from ovenbird.model.cluster import Cluster, Database
from ovenbird.model.errors import Unavailable
from ovenbird.ovsdb import OvsdbError, Transaction
from ovenbird.plan.realised import (
    ChassisFacts,
    ChassisVerdict,
    Realised,
    RealisedVerdict,
    SouthboundFacts,
    judge_realised,
)

LOOK_AGAIN_S = 0.5
"""Ages grow without notice: the verdict is renewed at least this often."""
RAISE_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitReport:
    """How far a declared revision has come."""

    revision: int
    nb_cfg: int
    state: Realised
    """DONE; DEAD: all that live are done, the others will not be; LAGGING: time ran out."""
    detail: str
    chassis: tuple[ChassisVerdict, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as the API shows it."""
        return {
            "revision": self.revision,
            "nb_cfg": self.nb_cfg,
            "state": self.state.value,
            "detail": self.detail,
            "chassis": [{**asdict(each), "state": each.state.value} for each in self.chassis],
        }


class Realisation:
    """Waits for chassis. Any central host may ask, leader or not."""

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        nb: NbWatch,
        sb: SbWatch,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._nb = nb
        self._sb = sb
        self._clock = clock
        self._wall_clock = wall_clock
        self._heartbeats: dict[str, tuple[int, float | None]] = {}
        """Per host its latest heartbeat and when we saw it change; None: it has not changed since we look."""
        self._pending: asyncio.Task[int] | None = None
        self._sending = asyncio.Lock()
        store.subscribe(lambda _: self._note_heartbeats())

    async def wait(self, revision: int | None, timeout_s: float) -> WaitReport:
        """Wait until a declared revision (None: the present one) is realised on every chassis that lives.

        Returns early when all that live are done; at the deadline says who is not. Unavailable: not even the declared
        state can be read.
        """
        deadline_s = self._clock() + timeout_s
        if revision is None:
            await self._store.ready(timeout_s)
            revision = self._store.revision
        if not await self._until(lambda: self._in_nb(revision), deadline_s):
            return WaitReport(revision=revision, nb_cfg=0, state=Realised.LAGGING, detail=self._why_not_in_nb(revision))
        target, error = await self._raise_nb_cfg(deadline_s)
        if target is None:
            detail = f"NB holds revision {revision}, but nb_cfg could not be raised: {error}"
            return WaitReport(revision=revision, nb_cfg=0, state=Realised.LAGGING, detail=detail)
        verdict = await self._follow(target, deadline_s)
        return WaitReport(
            revision=revision, nb_cfg=target, state=verdict.state, detail=verdict.detail, chassis=verdict.chassis
        )

    # Until NB holds it.

    def _in_nb(self, revision: int) -> bool:
        return self._nb.synced and self._nb.last_control.revision >= revision

    def _why_not_in_nb(self, revision: int) -> str:
        if not self._nb.synced:
            return f"NB cannot be read: {self._nb.client.state.reason or 'its content has not arrived'}"
        control = self._nb.last_control
        holder = f"controller {control.holder}, epoch {control.epoch}" if control.holder else "no controller yet"
        declared = f"; only {self._store.revision} is declared" if revision > self._store.revision else ""
        return f"NB holds revision {control.revision}, not yet {revision} ({holder}){declared}"

    async def _until(self, condition: Callable[[], bool], deadline_s: float) -> bool:
        try:
            await self._nb.changing.wait_for(condition, timeout_s=deadline_s - self._clock())
        except TimeoutError:
            return condition()
        return True

    # Raising nb_cfg.

    async def raised(self, timeout_s: float) -> int:
        """Have every chassis confirm that it works; return the number that shows it. Raises TimeoutError."""
        number, problem = await self._raise_nb_cfg(self._clock() + timeout_s)
        if number is None:
            raise TimeoutError(problem)
        return number

    async def _raise_nb_cfg(self, deadline_s: float) -> tuple[int | None, str]:
        """Return nb_cfg as raised after this call began, or why it could not be."""
        problem = "no time was left"
        while (left_s := deadline_s - self._clock()) > 0:
            if self._pending is None:
                self._pending = asyncio.create_task(self._raise_once(), name="raise nb_cfg")
            try:
                async with asyncio.timeout(left_s):
                    return await asyncio.shield(self._pending), ""
            except TimeoutError:
                problem = "NB did not answer in time"
            except (OvsdbError, Unavailable) as error:
                problem = str(error)
                await asyncio.sleep(min(LOOK_AGAIN_S, max(0.0, deadline_s - self._clock())))
        return None, problem

    def prompt(self) -> None:
        """Have every chassis confirm that it works, and do not wait for it. What fails is tried by who asks again."""
        if self._pending is None:
            self._pending = asyncio.create_task(self._raise_once(), name="prompt chassis")
            self._pending.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def _raise_once(self) -> int:
        async with self._sending:
            # Who comes from here on may wait for something that NB got later: they need the next one.
            self._pending = None
            txn = Transaction("wait for chassis")
            txn.mutate("NB_Global", "nb_cfg", "+=", 1, where=())
            txn.select("NB_Global", columns=("nb_cfg",))
            result = await self._nb.client.transact(txn, timeout_s=RAISE_TIMEOUT_S)
            rows = result.rows(1)
            if not rows:
                raise Unavailable("NB has no row NB_Global: no northd has started yet", subject=Database.NB.value)
            return int(rows[0]["nb_cfg"])

    # Until chassis have it.

    async def _follow(self, target: int, deadline_s: float) -> RealisedVerdict:
        reached_s: float | None = None
        while True:
            sb_cfg = self._sb_cfg()
            if reached_s is None and sb_cfg is not None and sb_cfg >= target:
                reached_s = self._clock()
            waiting_s = self._clock() - reached_s if reached_s is not None else None
            verdict = judge_realised(target, SouthboundFacts(sb_cfg=sb_cfg, waiting_s=waiting_s), self._chassis_facts())
            left_s = deadline_s - self._clock()
            if verdict.state is not Realised.LAGGING or left_s <= 0:
                return verdict
            await self._news(min(left_s, LOOK_AGAIN_S))

    async def _news(self, timeout_s: float) -> None:
        """Return when NB or SB changed, or after the time."""
        waits = {asyncio.ensure_future(each.changing.next_change()) for each in (self._nb, self._sb)}
        try:
            await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _sb_cfg(self) -> int | None:
        rows = self._nb.replica.table("NB_Global").values() if self._nb.synced else ()
        return next((int(row["sb_cfg"]) for row in rows), None)

    def _chassis_facts(self) -> list[ChassisFacts]:
        known = self._sb.synced
        rows, private = self._sb.chassis(), self._sb.chassis_private()
        names = {host.name for host in self._cluster.hosts if host.is_chassis} | rows.keys()
        found = []
        for name in sorted(names):
            progress = private.get(name)
            stamp_ms = progress["nb_cfg_timestamp"] if progress is not None else 0
            found.append(
                ChassisFacts(
                    name=name,
                    registered=(name in rows and progress is not None) if known else None,
                    nb_cfg=progress["nb_cfg"] if known and progress is not None else None,
                    nb_cfg_age_s=max(0.0, self._wall_clock() - stamp_ms / 1000) if stamp_ms else None,
                    heartbeat_age_s=self.heartbeat_age_s(name),
                    controller_running=self._controller_running(name),
                )
            )
        return found

    def _note_heartbeats(self) -> None:
        for name, node in self._store.state.nodes.items():
            known = self._heartbeats.get(name)
            if known is None:
                self._heartbeats[name] = (node.heartbeat_s, None)
            elif known[0] != node.heartbeat_s:
                self._heartbeats[name] = (node.heartbeat_s, self._clock())

    def heartbeat_age_s(self, name: str) -> float | None:
        """Return the age by our own clock; by the host's only until its first heartbeat that we saw come."""
        if not self._store.synced or name not in self._heartbeats:
            return None
        heartbeat_s, seen_s = self._heartbeats[name]
        return self._clock() - seen_s if seen_s is not None else max(0.0, self._wall_clock() - heartbeat_s)

    def _controller_running(self, name: str) -> bool | None:
        node = self._store.state.nodes.get(name)
        daemons = node.facts.get("daemons") if node is not None else None
        controller = daemons.get("ovn-controller") if isinstance(daemons, dict) else None
        alive = controller.get("alive") if isinstance(controller, dict) else None
        return alive if isinstance(alive, bool) else None
