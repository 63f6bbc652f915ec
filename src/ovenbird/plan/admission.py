"""Whether what somebody asks for may become what is declared: all of it or none, with every reason against it.

`admit` and `admit_delete` take the declared state and a request, and return every change, or raise with all problems.
They judge the state as it would be afterwards, so the order of documents does not matter, two ports may swap their
addresses in one file, and an object may be deleted together with what uses it.
They must never change the inventory that they are given: the caller stores the changes, then applies them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from ovenbird.model.documents import Document, bad_input
from ovenbird.model.errors import Problem, Refused, UserError
from ovenbird.model.explain import did_you_mean
from ovenbird.model.objects import Declared, ExternalNetwork, Key, Network, Port, Router
from ovenbird.plan.admission_gateways import GatewayChecks
from ovenbird.plan.admission_objects import Checks
from ovenbird.plan.admission_routed import RoutedChecks, RoutedPhysnets
from ovenbird.plan.admission_topology import TopologyChecks
from ovenbird.plan.allocation import allocate, kept, kind_order, natural_order, pool_of, room_for
from ovenbird.plan.change import Admission, Change, change_of
from ovenbird.plan.findings import Findings, Place
from ovenbird.plan.inventory import Draft, Inventory
from ovenbird.plan.legs import is_pinned, leg_networks

_USERS_SHOWN = 5


def admit(
    base: Inventory,
    documents: Sequence[Document],
    *,
    physnets: frozenset[str],
    underlay_mtu: int,
    revision: int,
    gateways: Mapping[str, int] | None = None,
    zones: frozenset[str] | None = None,
    routed: RoutedPhysnets | None = None,
) -> Admission:
    """Return what applying the documents changes; changed objects carry `revision`.

    Objects whose spec is as it was are unchanged and keep their revision. Raises UserError (`bad_input`) with every
    problem, each at the line of the field that brought it about.
    """
    files = {document.file for document in documents}
    file = files.pop() if len(files) == 1 else ""
    asked = {document.key: document for document in documents}
    if len(asked) < len(documents):
        raise bad_input(file, _repeated(documents))
    draft = Draft(base)
    changing = {
        key: document for key, document in asked.items() if (old := base.get(key)) is None or old.spec != document.spec
    }
    # Networks come before what takes addresses from them, so that an address is kept only if it still fits.
    for key in sorted(changing, key=kind_order):
        spec, old = changing[key].spec, base.get(key)
        assigned = kept(old, spec, draft)
        draft.put(Declared(kind=key.kind, name=key.name, spec=spec, assigned=assigned, revision=revision))
    found = Findings(draft, changing)
    objects = Checks(view=draft, found=found, physnets=physnets, underlay_mtu=underlay_mtu)
    topology = TopologyChecks(view=draft, found=found, underlay_mtu=underlay_mtu)
    _check(base, draft, changing, objects, topology)
    GatewayChecks(view=draft, found=found, gateways=gateways, zones=zones).check_all(base, changing)
    if routed is not None:
        RoutedChecks(view=draft, found=found, routed=routed).check_all(changing)
    if found.problems:
        raise bad_input(file, found.problems)
    for key in allocate(draft, changing):
        found.problem(_exhausted(key, draft), Place(key))
    if found.problems:
        raise bad_input(file, found.problems)
    changes = tuple(change_of(key, base.get(key), draft.get(key)) for key in asked)
    return Admission(changes=changes, warnings=tuple(found.warnings), view=draft)


def admit_delete(base: Inventory, keys: Iterable[Key]) -> Admission:
    """Return what deleting the objects changes, users before what they use.

    Raises UserError (`not_found`) if one does not exist, and Refused (`in_use`) if something that stays uses one.
    """
    going = set(keys)
    unknown = sorted(key for key in going if base.get(key) is None)
    if unknown:
        problems = [_not_found(key, base) for key in unknown]
        raise UserError(f"{', '.join(map(str, unknown))} does not exist", code="not_found", problems=problems)
    problems = [problem for key in sorted(going) if (problem := _in_use(key, going, base))]
    problems += _lost_routes(base, going)
    if problems:
        names = ", ".join(dict.fromkeys(f"{problem.kind}/{problem.name}" for problem in problems))
        hint = "delete what uses it as well, or first"
        raise Refused(f"{names} cannot be deleted: in use", code="in_use", hint=hint, problems=problems)
    ordered = sorted(going, key=natural_order, reverse=True)
    ordered.sort(key=lambda key: _DELETE_ORDER.index(key.kind))
    return Admission(changes=tuple(change_of(key, base.get(key), None) for key in ordered))


_DELETE_ORDER = ("LoadBalancer", "FloatingIP", "Port", "Network", "Router", "ExternalNetwork")


def _repeated(documents: Sequence[Document]) -> list[Problem]:
    first: dict[Key, Document] = {}
    problems = []
    for document in documents:
        before = first.setdefault(document.key, document)
        if before is not document:
            where = f"{before.file or 'the input'}:{before.line}"
            problems.append(document.problem(f"declared twice; first at {where}", hint="keep one of them"))
    return problems


def _check(base: Inventory, draft: Draft, changing: Iterable[Key], objects: Checks, topology: TopologyChecks) -> None:
    """Check everything that changes, and everything that a change may break."""
    touched = dict.fromkeys(changing)
    routers, segments = _around(base, draft, touched)
    for key in tuple(touched):
        if base.get(key) is not None:
            touched.update(dict.fromkeys(sorted(_dependants(base, draft, key))))
    for key in touched:
        if declared := draft.get(key):
            objects.check(declared)
    for router in routers:
        topology.check_router(router)
    for physnet, vlan in segments:
        topology.check_segment(physnet, vlan)


def _around(
    base: Inventory, draft: Draft, changing: Iterable[Key]
) -> tuple[dict[str, None], dict[tuple[str, int | None], None]]:
    """Return the routers, and the physical networks with their VLANs, that changed objects are or were on."""
    routers, segments = dict[str, None](), dict[tuple[str, int | None], None]()
    for key in changing:
        if key.kind == "Port":
            continue  # on none of itself
        for declared in (base.get(key), draft.get(key)):
            if declared:
                routers.update(dict.fromkeys(_routers_around(draft, declared)))
                if isinstance(declared.spec, ExternalNetwork | Network) and declared.spec.physnet is not None:
                    segments[declared.spec.physnet, declared.spec.vlan] = None
    return routers, segments


def _dependants(base: Inventory, draft: Draft, key: Key) -> set[Key]:
    """Return unchanged objects whose correctness depends on an object that existed and changes."""
    old, new = base.get(key), draft.get(key)
    if old is None or new is None:
        return set()
    match (old.spec, new.spec):
        case (ExternalNetwork(), ExternalNetwork()):
            return set(draft.users(key))
        case (Network() as before, Network() as after):
            ports = draft.users(key)
            moved = before.cidr != after.cidr or old.assigned.address != new.assigned.address
            found = set(ports) if moved else set()
            if (before.router, before.cidr6) != (after.router, after.cidr6):
                found |= {user for port in ports for user in draft.users(port)}
            return found
        case (Router() as before, Router() as after) if _outward(before) != _outward(after):
            return {each.key for each in (*draft.floating_ips_of(key.name), *draft.load_balancers_of(key.name))}
        case (Port() as before, Port() as after) if before.network != after.network:
            return set(draft.users(key))
    return set()


def _outward(spec: Router) -> tuple[object, ...]:
    """Return what leads inward depends on of a router."""
    return spec.externals, is_pinned(spec)


def _routers_around(draft: Draft, declared: Declared) -> Iterable[str]:
    match declared.spec:
        case Router():
            return (declared.name,)
        case Network(router=str() as router):
            return (router,)
        case ExternalNetwork():
            return sorted(user.name for user in draft.users(declared.key) if user.kind == "Router")
    return ()


def _exhausted(key: Key, draft: Draft) -> str:
    declared = draft.get(key)
    space, ranges = room_for(declared.spec, draft) if declared else (key, ())
    if declared and isinstance(declared.spec, Router) and declared.assigned.address:
        # The main leg has its address: it is a further one that found none.
        network = leg_networks(declared.spec)[1 + declared.assigned.others.index("")]
        external = draft.spec(ExternalNetwork, network)
        space, ranges = Key("ExternalNetwork", network), pool_of(external) if external else ()
    count = sum(last - first + 1 for first, last in ranges)
    return f"no address is free in {space}: all {count} of {', '.join(map(str, ranges))} are used"


def _not_found(key: Key, base: Inventory) -> Problem:
    hint = did_you_mean(key.name, base.of_kind(key.kind)) or f"no {key.kind} is declared"
    return Problem(message="does not exist", kind=key.kind, name=key.name, hint=hint)


def _in_use(key: Key, going: set[Key], base: Inventory) -> Problem | None:
    users = sorted(base.users(key) - going, key=natural_order)
    if not users:
        return None
    shown = ", ".join(map(str, users[:_USERS_SHOWN]))
    more = f" and {len(users) - _USERS_SHOWN} more" if len(users) > _USERS_SHOWN else ""
    hint = "delete that as well, or first" if len(users) == 1 else "delete those as well, or first"
    return Problem(message=f"is used by {shown}{more}", kind=key.kind, name=key.name, hint=hint)


def _lost_routes(base: Inventory, going: set[Key]) -> list[Problem]:
    """Return the networks that routers' static routes lead through."""
    draft = Draft(base)
    for key in going:
        draft.remove(key)
    problems = []
    for key in sorted(going):
        network = base.spec(Network, key.name) if key.kind == "Network" else None
        if not network or not network.router or not draft.get(Key("Router", network.router)):
            continue
        found = Findings(draft, {})
        TopologyChecks(view=draft, found=found, underlay_mtu=0).check_router(network.router)
        problems += [
            replace(each, kind=key.kind, name=key.name, message=f"is used by {each.kind}/{each.name}: {each.message}")
            for each in found.problems
        ]
    return problems


__all__ = ["Admission", "Change", "admit", "admit_delete"]
