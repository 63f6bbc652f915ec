"""The loop that makes NB say what is declared, by the acting controller only.

What changed (declared objects, hosts, foreign hands in NB) is gathered while the last commit is under way; then a turn
compiles what it made dirty, compares with NB as it is, and commits the difference in one fenced transaction. The work
is that of the change. Behind it a slow audit compares everything, slice by slice; to find something is an event.
It must never write but through `Leadership.commit`, and never hold up many objects for the sake of one.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Collection, Sequence

from ovenbird.controller.apart import apart_in_nb
from ovenbird.controller.audit import differing, drift, whole_plan
from ovenbird.controller.events import DRIFT_REPAIRED, NB_COMMITTED, NB_UNREACHABLE, Events
from ovenbird.controller.fence import is_passing
from ovenbird.controller.fitness import GatewayFitness
from ovenbird.controller.foresight import HOLD_NEWS_S, Ahead, Foreseen, Foresight
from ovenbird.controller.gateway_sight import GatewaySight
from ovenbird.controller.handover import Handover
from ovenbird.controller.leadership import Leadership, LeadershipLost
from ovenbird.controller.nb_options import missing_options, write_options
from ovenbird.controller.nb_watch import NbChange, NbWatch
from ovenbird.controller.placing import Placing, Sight
from ovenbird.controller.problems import Problems, Trouble
from ovenbird.controller.realisation import Realisation
from ovenbird.controller.separating import Separating
from ovenbird.controller.state import Prospect, StateChange
from ovenbird.controller.steps import add_steps
from ovenbird.controller.store import Store
from ovenbird.controller.worklist import Worklist, halves
from ovenbird.model.cluster import Bfd
from ovenbird.model.objects import Key
from ovenbird.ovsdb import NotConnected, OvsdbError, SchemaError, Transaction, TransactionError
from ovenbird.plan.bfd_timers import bfd_timers
from ovenbird.plan.compile import CompileContext, compile_object
from ovenbird.plan.diff import diff
from ovenbird.plan.failback import Cause
from ovenbird.plan.hold_down import HoldDown
from ovenbird.plan.rows import Plan
from ovenbird.plan.separation import Why, read

AUDIT_EVERY_S = 60.0
IDLE_S = 1.0
"""Longest time after which the loop looks again by itself."""
RETRY_S = 0.5
"""After NB did not take a commit, for whatever reason that may pass."""


class Reconciler:
    """Keeps NB as declared while this process leads."""

    def __init__(
        self,
        store: Store,
        nb: NbWatch,
        leadership: Leadership,
        events: Events,
        sight: GatewaySight,
        fitness: GatewayFitness,
        realisation: Realisation,
        *,
        audit_every_s: float = AUDIT_EVERY_S,
    ) -> None:
        self.problems = Problems(events)
        self.drift_repaired = 0
        """Objects whose rows had to be repaired since this process started."""
        self._store = store
        self._nb = nb
        self._leadership = leadership
        self._events = events
        self._audit_every_s = audit_every_s
        self._sight = sight
        self._handover = Handover(store, leadership, sight, events, realisation.raised)
        self.fitness = fitness
        self.separating = Separating(events, realisation.prompt, HoldDown.of(store.cluster.gateways))
        self._looked_s = -math.inf
        self._placing = Placing(store.cluster, events)
        self._work = Worklist()
        self._place_again = False
        self._look_again = False
        self._epoch: int | None = None
        """Epoch for which NB was taken over."""
        self._woken = asyncio.Event()
        self._foresight = Foresight()
        self._ahead: Ahead | None = None
        """What was written to NB though the state does not show it as declared yet."""
        self._awaited = 0
        """Revision that NB may hold already: until the state shows it, its rows would look like nobody's."""
        store.subscribe(self._on_store)
        store.on_prospect(self._on_prospect)
        store.on_confirmed(self._on_confirmed)
        nb.subscribe(self._on_nb)
        leadership.on_change(self._woken.set)

    def _bfd(self) -> Bfd:
        return bfd_timers(self._store.cluster, self._sight.strains(), time.time())

    # What changed.

    def _on_store(self, change: StateChange) -> None:
        if self._epoch is not None:
            self._work.change(change.objects)
            self._place_again = self._place_again or bool(change.nodes) or change.gateways
        self._woken.set()

    def _on_nb(self, change: NbChange) -> None:
        if self._epoch is None:
            return
        control, mine = change.control, (self._leadership.name, self._epoch)
        ours = change.is_one and control is not None and (control.holder, control.epoch) == mine
        if not ours:
            self._work.suspect(change.owners)
            self._woken.set()

    def look_at_gateways(self) -> None:
        """Look soon: another gateway may carry a router."""
        self._look_again = True
        self._woken.set()

    @property
    def knows(self) -> bool:
        """Whether NB's order was taken over for this epoch."""
        return self._epoch is not None and self._epoch == self._leadership.epoch

    def moved_to(self, router: str, gateway: str) -> Cause | None:
        """Return why we moved a router to a gateway, once; None when we did not."""
        return self._placing.cause(router, gateway, time.monotonic())

    def between(self, one: str, other: str) -> Why | None:
        """Return what is wrong between two gateways, or may be."""
        return self.separating.between(one, other)

    def first_gateway(self, router: str) -> str:
        """Return the gateway that should carry a router; "" when it has none."""
        return self._placing.placement.first(router)

    def _on_prospect(self, prospect: Prospect) -> None:
        if self._epoch is None or self._epoch != self._leadership.epoch or self._work or not self._nb.synced:
            return
        with contextlib.suppress(NotConnected):
            schema = self._nb.client.schema
            self._foresight.look_ahead(prospect, self._store.inventory, self._nb.index, self._context(), schema)

    def _on_confirmed(self, prospect: Prospect) -> None:
        if self._foresight.confirm(prospect):
            self._store.client.hold_news(HOLD_NEWS_S)
        self._woken.set()

    # Turns.

    async def run(self) -> None:
        """Reconcile for ever."""
        self._step_down()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._audits())
            while True:
                await self._sleep()
                try:
                    with self._leadership.progress:
                        await self._turn()
                except LeadershipLost:
                    self._step_down()
                except OvsdbError as error:
                    # The outcome is unknown, or NB is gone: what to do follows from what NB then holds.
                    self._events.emit(NB_UNREACHABLE, error=str(error))
                    await asyncio.sleep(RETRY_S)
                    self._woken.set()

    async def _sleep(self) -> None:
        retry_s = self.problems.next_retry_s()
        timeout_s = math.inf if retry_s is None else max(0.0, retry_s - time.monotonic())
        timeout_s = min(timeout_s, IDLE_S, self._look_again_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._woken.wait()
        self._woken.clear()

    async def _turn(self) -> None:
        if self._placing.handed.routers:
            await self._handover.over()
        if not self._leadership.is_leader:
            self._step_down()
        if not (self._leadership.is_leader and self._nb.synced and self._store.synced):
            return
        await self._nb.settle(self._leadership.confirmed)
        if self._epoch != self._leadership.epoch:
            await self._take_over()
        await self._go_ahead()
        self._store.client.release_news()
        if self._store.revision < self._awaited:
            return  # NB is ahead of what is known here to be declared; that comes, and wakes us
        self._place()
        self._work.again(self.problems.due(time.monotonic()))
        if self._work.doubts:
            self._ahead = None
        await self._do()

    def _place(self) -> None:
        """Look where routers' gateways should be, if that may have changed."""
        if self._place_again or self._work.may_move_routers(self._store.state.inventory):
            self._place_again = self._look_again = False
            self._work.again(self._placing.update(self._store.state, self._look()))
        elif self._look_again or time.monotonic() - self._looked_s >= min(IDLE_S, self._look_again_s):
            self._look_again = False
            self._work.again(self._placing.look_again(self._store.state, self._look()))

    async def _do(self) -> None:
        """Do the work there is. Of many planned moves only a few: the other routers' turn comes when these are over."""
        moves, later = self._placing.take_handed(), self._placing.handed.routers
        batch = self._work.take(self._store.inventory).without(later)
        revision = None if later else self._store.revision  # which NB holds when the last of them has moved
        if later:
            self._work.again(later)
            self._woken.set()
        options = missing_options(self._nb.replica, self._bfd())
        if not batch.owners and not options and revision == self._leadership.committed_revision:
            return
        try:
            async with self._handover.during(moves):
                await self._realise(batch.owners, batch.suspects, revision)
        except OvsdbError:
            self._work.again(batch.declared)
            self._work.suspect(batch.suspects)
            raise

    @property
    def _look_again_s(self) -> float:
        return min(self.fitness.look_again_s, self.separating.look_again_s)

    def _look(self) -> Sight:
        self._looked_s = time.monotonic()
        self.separating.look(self._sight.hosts(), self._looked_s)
        self.fitness.judge(self._store.state.nodes, self._looked_s)
        gateways, now_s = self._sight.look()
        return Sight(gateways, self._sight.carriers(), now_s, self.fitness.unfit, self.separating.separated)

    def _step_down(self) -> None:
        self._epoch = self._ahead = None
        self._awaited = 0
        self._foresight.forget()
        self.problems.forget()
        self.fitness.forget()

    async def _take_over(self) -> None:
        """Find out what the leader before left undone; nothing is written to NB before that."""
        epoch = self._leadership.epoch
        self._work.clear()
        self._place_again = False
        self._epoch = epoch
        self.separating.begin(read(apart_in_nb(self._store.inventory, self._nb.index)))
        self._placing.take_over(self._store.state, self._nb.index, self._look())
        complete = self._nb.last_control.revision == self._store.revision
        found = await self._audit()
        # Differences are drift only if NB was said to hold this very revision.
        (self._work.suspect if complete else self._work.again)(found)

    # Making NB so.

    def _context(self) -> CompileContext:
        return CompileContext(placement=self._placing.placement, underlay_mtu=self._store.cluster.underlay_mtu)

    def _plan(self, owners: Collection[Key]) -> Plan:
        self._leadership.progress.mark()
        context, inventory = self._context(), self._store.inventory
        return diff(owners, {key: compile_object(key, inventory, context) for key in owners}, self._nb.index)

    async def _realise(self, owners: Collection[Key], suspects: Collection[Key], revision: int | None) -> None:
        """Commit what these objects need, and say that NB holds the revision, if that is known."""
        repairs = self._plan(suspects) if suspects else Plan()
        repaired = [key for key in sorted(suspects) if self._plan((key,))] if repairs else []
        try:
            await self._commit(owners, revision)
        except (TransactionError, SchemaError) as error:
            if is_passing(error):
                raise
            # One of them is refused. Its problem must not be that of the others: they go in parts, the revision last.
            for part in halves(owners):
                await self._isolate(part)
            await self._leadership.commit("revision", revision=revision)
        if repairs:
            self._report(repairs, repaired)

    async def _isolate(self, owners: Collection[Key]) -> None:
        await self._nb.settle(self._leadership.confirmed)
        try:
            await self._commit(owners, None)
        except (TransactionError, SchemaError) as error:
            if is_passing(error):
                raise
            if len(owners) > 1:
                for part in halves(owners):
                    await self._isolate(part)
            else:
                trouble = Trouble("refused", str(error))
                self.problems.judge(owners, {key: (trouble,) for key in owners}, time.monotonic())

    async def _go_ahead(self) -> None:
        """Carry a plan out as soon as its change is committed, before the state shows it."""
        if not await self._foresight.confirmed() or self._work or self._place_again:
            return
        if not (self._store.synced and self._nb.synced) or missing_options(self._nb.replica, self._bfd()):
            return
        ahead = self._foresight.go_ahead(self._store.inventory, self._nb.index, self._context())
        if ahead is None:
            return
        self._awaited = ahead.revision
        try:
            await self._write(ahead.foreseen.plan, ahead.foreseen, ahead.revision)
        except (TransactionError, SchemaError) as error:
            if is_passing(error):
                raise
            return  # it is planned again, and told apart, once the state shows it
        self._ahead = ahead

    async def _commit(self, owners: Collection[Key], revision: int | None) -> None:
        wanted, foreseen = frozenset(owners), None
        ahead, self._ahead = self._ahead, None
        if ahead and ahead.covers(wanted, self._store.inventory, self._context()):
            plan, left = ahead.foreseen.plan, Plan()
        else:
            foreseen = await self._foresight.recall(wanted, self._store.inventory, self._nb.index, self._context())
            left = plan = foreseen.plan if foreseen else self._plan(owners)
        if not (self._store.synced and self._nb.synced):
            # Since this turn began one of both was lost. What is not known must not be taken for not declared.
            raise NotConnected("the declared state or NB is not current")
        due = missing_options(self._nb.replica, self._bfd())
        if left or due or revision not in (None, self._leadership.committed_revision):
            await self._write(left, foreseen, revision)
        self._judge(owners, plan)

    async def _write(self, plan: Plan, foreseen: Foreseen | None, revision: int | None) -> None:
        """Commit a plan; a foreseen one is encoded already."""
        options = missing_options(self._nb.replica, self._bfd())

        def fill(txn: Transaction) -> None:
            if foreseen and plan is foreseen.plan:
                txn.extend(foreseen.steps)
            else:
                add_steps(txn, plan.steps)
            write_options(txn, options)

        started_s = time.monotonic()
        comment = f"{self._leadership.name} epoch {self._leadership.epoch} revision {revision}"
        sent = self._store.client.release_news
        await self._leadership.commit(comment, fill, rows=len(plan.steps), revision=revision, on_sent=sent)
        self._leadership.progress.mark()
        took_ms = round(1000 * (time.monotonic() - started_s))
        self._events.emit(
            NB_COMMITTED, revision=revision, steps=len(plan.steps), took_ms=took_ms, foreseen=foreseen is not None
        )

    def _judge(self, owners: Collection[Key], plan: Plan) -> None:
        found: dict[Key, tuple[Trouble, ...]] = {}
        for conflict in plan.conflicts:
            trouble = Trouble(conflict.kind.value, conflict.detail)
            found[conflict.owner] = (*found.get(conflict.owner, ()), trouble)
        for key, trouble in self._placing.troubles.items():
            if key in owners:
                found[key] = (*found.get(key, ()), trouble)
        self.problems.judge(owners, found, time.monotonic())

    def _report(self, repairs: Plan, repaired: Sequence[Key]) -> None:
        self.drift_repaired += len(repaired)
        self._events.emit(DRIFT_REPAIRED, **drift(repairs, repaired))

    # Comparing everything.

    async def _audits(self) -> None:
        while True:
            await asyncio.sleep(self._audit_every_s)
            if self.knows and self._nb.synced:
                self._work.suspect(await self._audit())
                self._woken.set()

    async def audit(self) -> Plan:
        """Return what a full audit would do to NB, and do none of it. LeadershipLost: only the acting controller knows.

        What was declared but not yet written counts too; wait for the revision first.
        """
        current = self._nb.synced and self._store.synced and self._store.revision >= self._awaited
        if not (self.knows and current):
            raise LeadershipLost("not the acting controller, or not up to date")
        await self._nb.settle(self._leadership.confirmed)
        return await whole_plan(self._everything(), self._plan)

    async def _audit(self) -> set[Key]:
        """Return the objects whose rows in NB are not as they should be."""
        return await differing(self._everything(), self._plan)

    def _everything(self) -> set[Key]:
        """Return what is declared, and what has rows in NB."""
        return {declared.key for declared in self._store.inventory} | set(self._nb.index.owners())
