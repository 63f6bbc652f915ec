"""Looks at the cluster from one central host, has `ovenbird.plan.health` judge it, and renders the answer.

Everything is asked at the same time, each question with its own deadline; whatever does not answer is unknown, with the
reason. This module must never judge, and never let one part that cannot be asked spoil the others.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from ovenbird.api.members import Terms, ask_members, with_terms
from ovenbird.api.render import rendered
from ovenbird.api.southbound import Southbound, read_southbound
from ovenbird.controller.apart import apart_in_nb
from ovenbird.controller.events import DRIFT_REPAIRED
from ovenbird.controller.fitness import sights
from ovenbird.controller.nb_watch import NbChange
from ovenbird.controller.node_facts import (
    autonomy,
    bfd_ends,
    controller_connected,
    daemons,
    northd_state,
    not_learnt,
    parse_northd,
    raft_terms,
)
from ovenbird.controller.records import NodeRecord as Node
from ovenbird.controller.service import ControllerService
from ovenbird.model.cluster import Database, Role
from ovenbird.model.layout import Layout
from ovenbird.model.objects import ExternalNetwork, Router
from ovenbird.model.raft_status import parse_raft_status
from ovenbird.ovsdb import OvsdbError, unixctl
from ovenbird.plan.bfd_timers import bfd_timers, warnings
from ovenbird.plan.fitness import State, Verdict
from ovenbird.plan.health import HEARTBEAT_STALE_S, judge
from ovenbird.plan.legs import Leg, legs_of
from ovenbird.plan.observation import (
    Autonomy,
    Bfd,
    Chassis,
    Controller,
    DatabaseView,
    Drift,
    GatewayFitness,
    MemberState,
    Northd,
    NorthdState,
    NotLearnt,
    Problem,
    RouterView,
    Snapshot,
)

CONTROL_TIMEOUT_S = 1.0
DRIFT_SHOWN = 5


class StatusReporter:
    """Reports the status as one host sees it. It remembers when the controller's mark in NB last moved."""

    def __init__(self, service: ControllerService, layout: Layout) -> None:
        self._service = service
        self._layout = layout
        self._moved_s: float | None = None
        service.nb.subscribe(self._note)

    def _note(self, change: NbChange) -> None:
        # What a reconnect brings was written at an unknown time: only single transactions are timed.
        if change.control is not None and change.is_one:
            self._moved_s = time.monotonic()

    async def report(self) -> dict[str, Any]:
        """Return the answer of `GET /v1/status`."""
        snapshot = await self.look()
        return rendered(snapshot, judge(snapshot))

    async def look(self) -> Snapshot:
        """Return what is to be seen now; takes 3 s at most, when half of what is asked hangs."""
        service = self._service
        views, local_terms, local_northd = await asyncio.gather(
            ask_members(service.cluster), self._local_terms(), self._local_northd()
        )
        seen, why = await self._southbound(views)
        now_s = time.time()
        nodes = {node.name: node for node in service.store.nodes()}
        told = {
            (node.name, database): (term, _age_s(node, now_s))
            for node in nodes.values()
            for database, term in raft_terms(node.facts)
        }
        sb_cfg, sb_cfg_age_s = self._sb_cfg()
        acts = service.leadership.is_leader
        return Snapshot(
            cluster=service.cluster.name,
            observer=service.node,
            at_s=now_s,
            databases=with_terms(views, {**told, **local_terms}),
            northds=tuple(self._northds(nodes, local_northd, now_s)),
            controller=self._controller(),
            sb_cfg=sb_cfg,
            sb_cfg_age_s=sb_cfg_age_s,
            chassis=tuple(self._chassis(nodes, seen, why, now_s)),
            bfd=tuple(self._bfd(nodes, now_s)),
            bfd_detect_ms=bfd_timers(service.cluster, service.gateways.strains(), now_s).detect_ms,
            routers=self._routers(seen, why),
            routers_why=why,
            fitness=tuple(self._fitness(nodes, now_s)),
            autonomy=tuple(self._autonomy(nodes, now_s)),
            not_learnt=tuple(self._not_learnt(nodes, now_s)),
            apart=apart_in_nb(service.store.inventory, service.nb.index) if service.nb.synced else frozenset(),
            problems=self._problems() if acts else None,
            warnings=tuple(warnings(service.cluster, service.gateways.strains(), now_s)),
            drift=self._drift() if acts else None,
        )

    def _problems(self) -> tuple[Problem, ...]:
        found = self._service.problems
        return tuple(Problem(str(key), trouble.detail) for key, troubles in found.items() for trouble in troubles)

    def _drift(self) -> tuple[Drift, ...]:
        latest = self._service.events.named(DRIFT_REPAIRED)[-DRIFT_SHOWN:]
        return tuple(
            Drift(event.at_s, f"{event.fields['count']} rows of {', '.join(event.fields['objects'])}")
            for event in latest
        )

    async def _local_terms(self) -> Terms:
        """Ask this host's own members, which `_Server` cannot be asked for."""

        async def term(database: Database) -> int | None:
            control = f"{self._layout.database_run(database)}.ctl"
            try:
                text = await unixctl(control, "cluster/status", database.value, timeout_s=CONTROL_TIMEOUT_S)
            except OvsdbError:
                return None
            return parse_raft_status(text).term or None

        found = await asyncio.gather(*(term(database) for database in Database))
        return {
            (self._service.node, database): (value, 0.0)
            for database, value in zip(Database, found, strict=True)
            if value is not None
        }

    async def _local_northd(self) -> Northd:
        control = self._layout.ovn_run / "ovn-northd.ctl"
        if not control.exists():
            return Northd(host=self._service.node, state=NorthdState.STOPPED, why="no control socket")
        try:
            text = await unixctl(control, "status", timeout_s=CONTROL_TIMEOUT_S)
        except OvsdbError as error:
            return Northd(host=self._service.node, why=str(error))
        return Northd(host=self._service.node, state=parse_northd(text))

    async def _southbound(self, views: Iterable[DatabaseView]) -> tuple[Southbound | None, str]:
        members = next(view for view in views if view.name == Database.SB.short)
        answering = [one.remote for one in members.having(MemberState.LEADER, MemberState.FOLLOWER)]
        try:
            return await read_southbound(self._service.sb.client, answering), ""
        except OvsdbError as error:
            return None, f"SB: {error}"

    def _northds(self, nodes: dict[str, Node], local: Northd, now_s: float) -> Iterable[Northd]:
        for host in self._service.cluster.centrals:
            if host.name == self._service.node:
                yield local
                continue
            node = nodes.get(host.name)
            if node is None:
                yield Northd(host=host.name, why="its agent has not reported")
                continue
            age_s = _age_s(node, now_s)
            told = Northd(host=host.name, state=northd_state(node.facts), age_s=age_s)
            if age_s > HEARTBEAT_STALE_S:
                told = replace(told, state=NorthdState.UNKNOWN, why=f"its agent has been silent for {age_s:.0f} s")
            elif told.state is NorthdState.UNKNOWN:
                told = replace(told, why="its agent does not tell")
            yield told

    def _controller(self) -> Controller:
        service = self._service
        if not service.store.synced:
            return Controller(why="the Ovenbird database cannot be reached")
        record = service.store.state.cluster
        control, pulse = service.nb.control, service.pulses.pulse
        return Controller(
            holder=record.holder if record else "",
            epoch=record.epoch if record else 0,
            nb_epoch=control.epoch if control else None,
            declared_revision=service.store.revision,
            nb_revision=control.revision if control else None,
            confirmed_age_s=None if self._moved_s is None else time.monotonic() - self._moved_s,
            taken=pulse.taken if pulse and record and pulse.epoch == record.epoch else "",
            why="" if control else "NB cannot be reached",
        )

    def _sb_cfg(self) -> tuple[int | None, float | None]:
        """Return the nb_cfg that northd has put before the chassis, and for how long it has been there."""
        if not self._service.nb.synced:
            return None, None
        for row in self._service.nb.replica.table("NB_Global").values():
            at_ms = row["sb_cfg_timestamp"] or 0
            return row["sb_cfg"], max(0.0, time.time() - at_ms / 1000) if at_ms else None
        return None, None

    def _chassis(self, nodes: dict[str, Node], seen: Southbound | None, why: str, now_s: float) -> Iterable[Chassis]:
        synced = self._service.store.synced
        declared = [host.name for host in self._service.cluster.hosts if host.is_chassis]
        others = sorted((seen.chassis | seen.orphans if seen else frozenset()) - set(declared))
        for name in [*declared, *others]:
            node = nodes.get(name)
            yield Chassis(
                name=name,
                declared=name in declared,
                registered=None if seen is None else name in seen.chassis,
                nb_cfg=seen.nb_cfg.get(name) if seen else None,
                # Cut off from the database, it is we who are silent, not they.
                heartbeat_age_s=_age_s(node, now_s) if node and synced else None,
                heartbeat_why="it has never reported" if synced else "the Ovenbird database cannot be reached",
                dead_daemons=tuple(each for each, alive in daemons(node.facts).items() if not alive) if node else (),
                connected=controller_connected(node.facts) if node else None,
                why=why,
            )

    def _bfd(self, nodes: dict[str, Node], now_s: float) -> Iterable[Bfd]:
        for node in nodes.values():
            yield from bfd_ends(node.name, node.facts, _age_s(node, now_s))

    def _fitness(self, nodes: dict[str, Node], now_s: float) -> Iterable[GatewayFitness]:
        verdicts = self._service.fitness.verdicts if self._service.leadership.is_leader else None
        for sight in sights(self._service.cluster, nodes, now_s):
            for physnet, findings in sight.physnets.items():
                bad = [f"{what}: {each.evidence}" for what, each in findings.items() if each.state is State.BAD]
                verdict = None if verdicts is None else verdicts.get((sight.name, physnet), Verdict()).why
                if (sight.is_fresh and bad) or verdict:
                    told = tuple(bad) if sight.is_fresh else ()
                    yield GatewayFitness(name=sight.name, physnet=physnet, bad=told, unfit=verdict)

    def _autonomy(self, nodes: dict[str, Node], now_s: float) -> Iterable[Autonomy]:
        for host in self._service.cluster.hosts:
            if Role.GATEWAY in host.roles:
                node = nodes.get(host.name)
                if node is None or _age_s(node, now_s) > HEARTBEAT_STALE_S:
                    yield Autonomy(name=host.name, why="its agent is not heard")
                else:
                    yield autonomy(host.name, node.facts)

    def _not_learnt(self, nodes: dict[str, Node], now_s: float) -> Iterable[NotLearnt]:
        for node in nodes.values():
            if _age_s(node, now_s) <= HEARTBEAT_STALE_S:
                yield from not_learnt(node.name, node.facts)

    def _routers(self, seen: Southbound | None, why: str) -> tuple[RouterView, ...] | None:
        """Return the routers with an external leg; None when what is declared is not known."""
        if not self._service.store.synced and not self._service.store.revision:
            return None
        inventory = self._service.store.inventory
        legs = [leg for _, declared in sorted(inventory.of_kind("Router").items()) for leg in legs_of(declared)]
        return tuple(self._router(leg, seen, why) for leg in legs)

    def _router(self, leg: Leg, seen: Southbound | None, why: str) -> RouterView:
        inventory = self._service.store.inventory
        spec, external = inventory.spec(Router, leg.router), inventory.spec(ExternalNetwork, leg.network)
        view = RouterView(
            name=leg.name,
            mode=spec.gateways.mode if spec is not None else "",
            binding=leg.binding,
            physnet=external.physnet if external is not None else "",
        )
        if seen is None:
            return replace(view, why=why)
        binding, group = seen.bindings.get(leg.binding), seen.bindings.get(leg.group_binding)
        view = replace(view, active=binding.active if binding is not None else "")
        return replace(view, gateways=group.gateways, peers=group.peers) if group is not None else view


def _age_s(node: Node, now_s: float) -> float:
    """Return the age of a host's last sign; its clock may be ahead of ours."""
    return max(0.0, now_s - node.heartbeat_s)
