"""A judged snapshot as JSON: the answer of `GET /v1/status` and of `ovenbird status -o json`.

None is "could not be asked" everywhere, with the reason beside it (`why`).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ovenbird.plan.health import HEARTBEAT_STALE_S, Health, alive, unfit
from ovenbird.plan.observation import DatabaseView, Member, MemberState, NorthdState, RouterView, Snapshot


def rendered(snapshot: Snapshot, health: Health) -> dict[str, Any]:
    """Return the whole answer."""
    return {
        "verdict": health.verdict.value,
        "cluster": snapshot.cluster,
        "observer": snapshot.observer,
        "at_s": round(snapshot.at_s, 3),
        "cut_off": any(reason.rule == "database.cut_off" for reason in health.reasons),
        "reasons": [
            {
                "verdict": reason.verdict.value,
                "rule": reason.rule,
                "subject": reason.subject,
                "message": reason.message,
                "hint": reason.hint,
            }
            for reason in health.reasons
        ],
        "databases": {view.name: _database(view, health) for view in snapshot.databases},
        "northd": _northd(snapshot),
        "controller": _controller(snapshot),
        "sb_cfg": snapshot.sb_cfg,
        "chassis": [_chassis(snapshot, health, index) for index in range(len(snapshot.chassis))],
        "bfd": [
            {"host": one.host, "peer": one.peer, "up": one.up, "age_s": round(one.age_s, 1)} for one in snapshot.bfd
        ],
        "bfd_detect_ms": snapshot.bfd_detect_ms,
        "routers": None if snapshot.routers is None else [_router(snapshot, health, each) for each in snapshot.routers],
        "fitness": [asdict(gateway) for gateway in snapshot.fitness],
        "autonomy": {
            "works_without_central": works_without_central(snapshot),
            "gateways": [asdict(gateway) for gateway in snapshot.autonomy],
        },
        "apart": sorted(snapshot.apart),
        "problems": None if snapshot.problems is None else [asdict(problem) for problem in snapshot.problems],
        "warnings": list(snapshot.warnings),
        "drift": None if snapshot.drift is None else [asdict(drift) for drift in snapshot.drift],
    }


def works_without_central(snapshot: Snapshot) -> bool | None:
    """Return whether every gateway fails over with the central tier away; None when one is not known to."""
    told = [gateway.works_alone for gateway in snapshot.autonomy]
    return False if False in told else None if None in told or not told else True


def _database(view: DatabaseView, health: Health) -> dict[str, Any]:
    leaders = view.having(MemberState.LEADER)
    cids = sorted({member.cid for member in view.members if member.cid})
    connected = view.having(MemberState.LEADER, MemberState.FOLLOWER)
    return {
        "verdict": health.about("database", view.name).value,
        "leader": leaders[0].host if len(leaders) == 1 else None,
        "term": max((member.term for member in view.members if member.term is not None), default=None),
        "cid": cids[0] if len(cids) == 1 else None,
        "quorum": True if connected else None if view.having(MemberState.UNKNOWN) else False,
        "members": [_member(member) for member in view.members],
    }


def _member(member: Member) -> dict[str, Any]:
    return {
        "host": member.host,
        "remote": member.remote,
        "state": member.state.value,
        "why": member.why,
        "term": member.term,
        "term_age_s": _rounded(member.term_age_s),
    }


def _northd(snapshot: Snapshot) -> dict[str, Any]:
    active = [northd.host for northd in snapshot.northds if northd.state is NorthdState.ACTIVE]
    return {
        "active": active[0] if len(active) == 1 else None,
        "standbys": [northd.host for northd in snapshot.northds if northd.state is NorthdState.STANDBY],
        "hosts": [
            {"host": one.host, "state": one.state.value, "why": one.why, "age_s": _rounded(one.age_s)}
            for one in snapshot.northds
        ],
    }


def _controller(snapshot: Snapshot) -> dict[str, Any]:
    seen = snapshot.controller
    return {
        "leader": seen.holder,
        "epoch": seen.epoch,
        "nb_epoch": seen.nb_epoch,
        "declared_revision": seen.declared_revision,
        "nb_revision": seen.nb_revision,
        "confirmed_age_s": _rounded(seen.confirmed_age_s),
        "taken": seen.taken,
        "why": seen.why,
    }


def _chassis(snapshot: Snapshot, health: Health, index: int) -> dict[str, Any]:
    seen = snapshot.chassis[index]
    ends = [one for one in snapshot.bfd if one.host == seen.name and one.age_s <= HEARTBEAT_STALE_S]
    lag = None if snapshot.sb_cfg is None or seen.nb_cfg is None else max(0, snapshot.sb_cfg - seen.nb_cfg)
    return {
        "name": seen.name,
        "verdict": health.about("chassis", seen.name).value,
        "declared": seen.declared,
        "registered": seen.registered,
        "nb_cfg": seen.nb_cfg,
        "nb_cfg_lag": lag,
        "heartbeat_age_s": _rounded(seen.heartbeat_age_s),
        "bfd_up": sorted(one.peer for one in ends if one.up),
        "bfd_down": sorted(one.peer for one in ends if one.up is False),
        "why": seen.why,
    }


def _router(snapshot: Snapshot, health: Health, router: RouterView) -> dict[str, Any]:
    return {
        "name": router.name,
        "verdict": health.about("router", router.name).value,
        "mode": router.mode,
        "binding": router.binding,
        "active": router.active,
        "gateways": [
            {
                "chassis": name,
                "priority": priority,
                "alive": alive(snapshot, name),
                "unfit": unfit(snapshot, router, name),
            }
            for name, priority in router.gateways
        ],
        "why": router.why,
    }


def _rounded(age_s: float | None) -> float | None:
    return None if age_s is None else round(age_s, 1)
