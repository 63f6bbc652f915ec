"""What operators do with gateways: look, drain, undrain, move, rebalance. On any central host, leader or not.

Each only writes down what is wanted, in the Ovenbird database; the acting controller moves routers. What would move is
predicted first by the controller's own decision. It must never write to NB, nor let two operators, each allowed by
himself, drain the last two gateways at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ovenbird.controller.placing import placement_in_nb
from ovenbird.controller.records import gateway_uuid, home_uuid
from ovenbird.controller.state import DeclaredState
from ovenbird.controller.writer import Proposal
from ovenbird.model.errors import Unavailable
from ovenbird.ovsdb import Transaction
from ovenbird.plan.failback import Carried, Cause, Gateways
from ovenbird.plan.gateway_moves import Later, drain_moves, rebalancing, single_move, undrain_moves
from ovenbird.plan.gateway_readiness import Readiness
from ovenbird.plan.rebalance import Move

if TYPE_CHECKING:
    from ovenbird.controller.service import ControllerService

READY_S = 4.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What will move, or would."""

    moves: tuple[Move, ...]
    later: tuple[Later, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as the API shows it."""
        return {
            "moves": [_move_json(move) for move in self.moves],
            "later": [{**_move_json(later.move), "after_s": later.after_s} for later in self.later],
        }


@dataclass(frozen=True, slots=True)
class View:
    """Gateways and routers as they are."""

    names: tuple[str, ...]
    gateways: Gateways
    readiness: dict[str, Readiness]
    routers: tuple[Carried, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as the API shows it."""
        return {
            "gateways": [
                {
                    "name": name,
                    "drained": name in self.gateways.drained,
                    "unfit": name in self.gateways.unfit,
                    "good": self.readiness[name].good,
                    "why": self.readiness[name].why,
                    "carries": sorted(router.name for router in self.routers if router.carrier == name),
                    "home_of": sorted(router.name for router in self.routers if router.home == name),
                }
                for name in self.names
            ],
            "routers": [
                {
                    "name": router.name,
                    "mode": router.mode,
                    "active": router.carrier,
                    "home": router.home,
                    "order": list(router.order),
                    "failback": router.failback.value,
                }
                for router in self.routers
            ],
        }


class GatewayOperations:
    """The operations. Every one may raise Unavailable or Timeout, and leaves nothing half done."""

    def __init__(self, service: ControllerService) -> None:
        self._service = service
        self._store = service.store

    async def view(self) -> View:
        """Return how it is. Unavailable: the Ovenbird database or NB cannot be read."""
        await self._store.ready(READY_S)
        return self._view()

    async def drain(self, node: str, *, force: bool = False, dry_run: bool = False) -> Outcome:
        """Want nothing carried by a gateway. Refused `last_gateway`, unless forced."""

        def propose() -> Proposal[Outcome]:
            view, state = self._view(), self._store.state
            moves = drain_moves(node, view.names, view.routers, view.gateways, force=force)
            if dry_run or node in state.drained:
                return Proposal(Outcome(moves), None)
            txn = _begin(f"drain {node}", state)
            txn.insert("Gateway", {"name": node, "drained": True}, uuid=gateway_uuid(node))
            return Proposal(Outcome(moves), txn, lambda: node in self._store.state.drained, rows=1)

        return await self._write(propose)

    async def undrain(self, node: str, *, dry_run: bool = False) -> Outcome:
        """Let a gateway carry routers again. Those that go home by themselves are told as `later`."""

        def propose() -> Proposal[Outcome]:
            view, state = self._view(), self._store.state
            outcome = Outcome((), undrain_moves(node, view.names, view.routers, view.gateways))
            if dry_run or node not in state.drained:
                return Proposal(outcome, None)
            txn = _begin(f"undrain {node}", state)
            txn.delete("Gateway", uuid=gateway_uuid(node))
            return Proposal(outcome, txn, lambda: node not in self._store.state.drained, rows=1)

        return await self._write(propose)

    async def move(self, router: str, to: str, *, force: bool = False, dry_run: bool = False) -> Outcome:
        """Make a gateway the home of a router, and have it carried there."""

        def propose() -> Proposal[Outcome]:
            view = self._view()
            moves = single_move(router, to, view.names, view.routers, view.gateways, force=force)
            return self._homes(moves, {move.router: to for move in moves}, Cause.MOVE, dry_run=dry_run)

        return await self._write(propose)

    async def rebalance(self, *, dry_run: bool = False) -> Outcome:
        """Spread routers over good gateways by the fewest moves."""

        def propose() -> Proposal[Outcome]:
            view = self._view()
            moves = rebalancing(view.routers, view.gateways)
            homes = {move.router: move.after for move in moves}
            return self._homes(moves, homes, Cause.REBALANCE, dry_run=dry_run)

        return await self._write(propose)

    def _homes(
        self, moves: tuple[Move, ...], homes: dict[str, str], cause: Cause, *, dry_run: bool
    ) -> Proposal[Outcome]:
        state = self._store.state
        if dry_run or not moves:
            return Proposal(Outcome(moves), None)
        txn = _begin(cause.value, state)
        for router, gateway in homes.items():
            there = state.homes.get(router)
            request = there.request + 1 if there else int(time.time())
            row = {"router": router, "gateway": gateway, "cause": cause.value, "request": request}
            if there:
                txn.wait_exists("Home", uuid=home_uuid(router))
                txn.update("Home", row, uuid=home_uuid(router))
            else:
                txn.insert("Home", row, uuid=home_uuid(router))

        def is_applied() -> bool:
            there = self._store.state.homes
            return all(router in there and there[router].gateway == gateway for router, gateway in homes.items())

        return Proposal(Outcome(moves), txn, is_applied, rows=len(homes))

    async def _write(self, propose: Callable[[], Proposal[Outcome]]) -> Outcome:
        await self._store.ready(READY_S)
        return await self._store.write(propose)

    def _view(self) -> View:
        service = self._service
        if not service.nb.synced:
            raise Unavailable(
                "NB cannot be read, which holds where routers are",
                code="nb_unavailable",
                evidence=service.nb.client.state.reason,
                hint="see `ovenbird status`",
            )
        sight = service.gateways
        seen, _ = sight.look()
        placement = placement_in_nb(self._store.inventory, service.nb.index)
        readiness = {name: sight.readiness(name) for name in sight.names}
        return View(sight.names, seen, readiness, tuple(sight.routers(placement)))


def _begin(comment: str, state: DeclaredState) -> Transaction:
    """Return a transaction that holds only while the same gateways are drained: each move was allowed by these."""
    txn = Transaction(comment)
    drained = [{"name": name, "drained": True} for name in sorted(state.drained)]
    txn.wait("Gateway", where=(), columns=("name", "drained"), rows=drained)
    return txn


def _move_json(move: Move) -> dict[str, Any]:
    return {"router": move.router, "from": move.before, "to": move.after}
