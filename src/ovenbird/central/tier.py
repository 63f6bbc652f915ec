"""The parts of one central host, in the order in which they become useful: three database members, then ovn-northd."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from ovenbird.central.member import Member
from ovenbird.central.northd import northd_spec
from ovenbird.model.cluster import Cluster, Database, Host
from ovenbird.model.layout import Layout
from ovenbird.ovsdb import OvsdbError
from ovenbird.plan.raft_timer import next_election_timer_ms
from ovenbird.process import daemon
from ovenbird.process.supervisor import Kept

PERMISSION_USED = "bootstrap_permission.used"
NORTHD_RESET = "northd.cluster_state_reset"
ELECTION_TIMER_CHANGED = "election_timer.changed"
CALM_POLL_S = 5.0
BUSY_POLL_S = 0.2

_log = logging.getLogger(__name__)


class CentralTier:
    """One host's members and ovn-northd. Each `run_*` is one part that may fail and be restarted by itself."""

    def __init__(self, cluster: Cluster, host: Host, layout: Layout) -> None:
        self._cluster = cluster
        self._layout = layout
        self.members = {database: Member(cluster, host, database, layout) for database in Database}
        self.northd = Kept(northd_spec(cluster, layout))

    async def ready(self) -> None:
        """Return once every member takes part in a cluster with a leader."""
        for member in self.members.values():
            await member.ready.wait()

    async def run_northd(self) -> None:
        """Keep ovn-northd, from the moment that there are databases to work with."""
        await self.members[Database.NB].ready.wait()
        await self.members[Database.SB].ready.wait()
        await self.northd.run()

    async def run_upkeep(self) -> None:
        """Take the permission to create back once it was used; keep election timers, and northd's idea of databases."""
        while True:
            permission = self._layout.permission
            if permission.exists() and all(self._layout.database_file(database).exists() for database in Database):
                permission.rename(permission.with_name("bootstrap.done"))
                _log.info(PERMISSION_USED, extra={"file": str(permission)})
            changing = False
            for member in self.members.values():
                with suppress(OvsdbError, OSError):
                    changing |= await self._tend_timer(member)
                    await self._tend_northd(member)
            await asyncio.sleep(BUSY_POLL_S if changing or permission.exists() else CALM_POLL_S)

    async def _tend_northd(self, member: Member) -> None:
        """Have ovn-northd forget the indexes of a database that was built anew: it refuses it as stale otherwise."""
        if member.database is Database.OVENBIRD or not member.ready.is_set():
            return
        cid, file = (await member.status()).cid, self._layout.northd_cluster(member.database)
        known = file.read_text(encoding="ascii").strip() if file.exists() else ""
        if not cid or known == cid:
            return
        if known:
            await daemon.ask(self.northd.spec, f"{member.database.short}-cluster-state-reset")
            _log.warning(NORTHD_RESET, extra={"database": member.database.value, "was": known, "cid": cid})
        file.write_text(f"{cid}\n", encoding="ascii")

    async def _tend_timer(self, member: Member) -> bool:
        """Take one step towards the wanted election timer where this member leads; whether to look again soon."""
        if not member.ready.is_set():
            return True
        status = await member.status()
        timer_ms = next_election_timer_ms(status.election_timer_ms, self._cluster.election_timer_ms)
        if not status.is_leader or timer_ms is None:
            return False
        await daemon.ask(member.spec, "cluster/change-election-timer", member.database.value, str(timer_ms))
        _log.info(ELECTION_TIMER_CHANGED, extra={"database": member.database.value, "to_ms": timer_ms})
        return True
