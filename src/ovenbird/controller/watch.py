"""A hot copy of some tables that tells who subscribed of each change: what all watches of the controller share.

Subscribers are called in the order in which they came, before anything else is taken in. It must never write.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Generic, ParamSpec, Self

from ovenbird.controller.events import Events
from ovenbird.controller.supervisor import keep_running
from ovenbird.ovsdb import Client, Replica

P = ParamSpec("P")


class Watch(ABC, Generic[P]):
    """An async context manager. With `owned`, the client lives as long as the watch."""

    def __init__(self, name: str, replica: Replica, events: Events, *, owned: Client | None = None) -> None:
        self.replica = replica
        self._name = name
        self._events = events
        self._owned = owned
        self._subscribers: list[Callable[P, None]] = []
        self._life = AsyncExitStack()

    async def __aenter__(self) -> Self:
        if self._owned is not None:
            await self._life.enter_async_context(self._owned)
        await self._life.enter_async_context(self.replica)
        pump = asyncio.create_task(keep_running(self._name, self._pump, self._events))
        self._life.push_async_callback(_end, pump)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._life.__aexit__(kind, error, trace)

    def subscribe(self, subscriber: Callable[P, None]) -> None:
        """Have a function called after each change. It must not block."""
        self._subscribers.append(subscriber)

    def _tell(self, *news: P.args, **more: P.kwargs) -> None:
        for subscriber in self._subscribers:
            subscriber(*news, **more)

    @abstractmethod
    async def _pump(self) -> None:
        """Take in the replica's changes, and tell of them, for ever."""


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
