"""Admission, whatever is asked for: nothing is given twice, order does not matter, a refusal leaves nothing."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from ovenbird.model.addresses import parse_address, parse_subnet
from ovenbird.model.documents import Document
from ovenbird.model.errors import OvenbirdError, UserError
from ovenbird.model.objects import (
    Declared,
    ExternalNetwork,
    FloatingIP,
    Key,
    Network,
    Port,
    Route,
    Router,
    RouterExternal,
    Spec,
)
from ovenbird.plan.admission import admit, admit_delete
from ovenbird.plan.change import Admission
from ovenbird.plan.index_terms import claimed_address, references
from ovenbird.plan.inventory import Inventory

NAMES = st.sampled_from("aab")
MACS = st.none() | st.none() | st.sampled_from(["0a:00:00:00:00:01", "0a:00:00:00:00:02"])


def host(*prefixes: str) -> st.SearchStrategy[str | None]:
    return st.none() | st.none() | st.builds("{}.{}".format, st.sampled_from(prefixes), st.integers(1, 6))


SPECS: st.SearchStrategy[Spec] = st.one_of(
    st.builds(
        ExternalNetwork,
        physnet=st.sampled_from(["ext", "dmz"]),
        vlan=st.sampled_from([None, 1]),
        cidr=st.sampled_from(["172.16.0.0/29", "172.16.1.0/29"]),
        gateway=host("172.16.0"),
        pool=st.sampled_from([(), (), ("172.16.0.2-172.16.0.4",)]),
    ),
    st.builds(
        Network,
        cidr=st.sampled_from(["10.0.0.0/29", "10.0.0.0/29", "10.0.1.0/29"]),
        router=st.none() | NAMES,
        gateway=host("10.0.0"),
    ),
    st.builds(
        Router,
        external=st.none() | st.builds(RouterExternal, network=NAMES, address=host("172.16.0", "172.16.1")),
        routes=st.sampled_from([(), (), (Route(to="10.9.0.0/16", via="10.0.0.4"),)]),
    ),
    st.builds(Port, network=NAMES, address=host("10.0.0", "10.0.1"), mac=MACS),
    st.builds(FloatingIP, network=NAMES, port=NAMES, address=host("172.16.0")),
)
DOCUMENTS = st.lists(
    st.builds(lambda name, spec: Document(type(spec).__name__, name, spec), NAMES, SPECS),
    min_size=1,
    max_size=3,
    unique_by=lambda document: document.key,
)


def ask(base: Inventory, documents: list[Document]) -> Admission | None:
    try:
        return admit(base, documents, physnets=frozenset({"ext", "dmz"}), underlay_mtu=1500, revision=len(base) + 1)
    except UserError as error:
        assert error.problems
        return None


def grow(files: list[list[Document]]) -> Inventory:
    """Apply file after file, leaving out what does not fit: whole files, then single documents."""
    base = Inventory()
    for file in files:
        for part in [file, *([document] for document in sorted(file, key=depth))]:
            admission = ask(base, part)
            for change in admission.changes if admission else ():
                assert change.new
                base.put(change.new)
    return base


def depth(document: Document) -> int:
    return ["ExternalNetwork", "Router", "Network", "Port", "FloatingIP"].index(document.kind)


def document(name: str, spec: Spec) -> Document:
    return Document(type(spec).__name__, name, spec)


SOUND = [
    document("a", ExternalNetwork(physnet="ext", cidr="172.16.0.0/29")),
    document("a", Router(external=RouterExternal(network="a"))),
    document("a", Network(cidr="10.0.0.0/29", router="a")),
    document("a", Port(network="a")),
    document("b", Port(network="a", address="10.0.0.3")),
    document("a", FloatingIP(network="a", port="a")),
]
"""Something to change: from nothing, random documents seldom make a floating IP that fits."""
GROWN = st.builds(
    lambda start, files: grow([start, *files]), st.sampled_from([[], SOUND, SOUND]), st.lists(DOCUMENTS, max_size=3)
)


def state(base: Inventory) -> dict[Key, Declared]:
    return {each.key: each for each in base}


@given(GROWN)
def test_what_is_declared_always_holds_together(base: Inventory):
    addresses = Counter(claim for each in base if (claim := claimed_address(each)))
    macs = Counter(each.assigned.mac for each in base if each.assigned.mac)
    assert not [claim for claim, count in addresses.items() if count > 1]
    assert not [mac for mac, count in macs.items() if count > 1]
    for each in base:
        assert all(base.get(target) for target in references(each))
        if isinstance(each.spec, Port):
            network = base.spec(Network, each.spec.network)
            assert network
            subnet = parse_subnet(network.cidr)
            assert subnet.first <= parse_address(each.assigned.address) <= subnet.last
            assert each.assigned.address == (each.spec.address or each.assigned.address)
        if isinstance(each.spec, FloatingIP):
            port = base.spec(Port, each.spec.port)
            network = base.spec(Network, port.network if port else None)
            router = base.spec(Router, network.router if network else None)
            assert router
            assert router.external
            assert router.external.network == each.spec.network
    for router in base.of_kind("Router"):
        cidrs = [each.spec.cidr for each in base.networks_of(router)]  # type: ignore[attr-defined]
        assert len(set(cidrs)) == len(cidrs)


@given(GROWN, DOCUMENTS.flatmap(lambda found: st.tuples(st.just(found), st.permutations(found))))
def test_the_order_of_documents_does_not_matter(base: Inventory, orders: tuple[list[Document], list[Document]]):
    one, other = (ask(base, order) for order in orders)
    assert (one is None) == (other is None)
    if one and other:
        assert {change.key: change.new for change in one.changes} == {
            change.key: change.new for change in other.changes
        }


@given(GROWN, DOCUMENTS)
def test_admission_leaves_the_base_alone_and_what_it_admits_is_then_unchanged(base: Inventory, file: list[Document]):
    before = state(base)
    admission = ask(base, file)
    assert state(base) == before
    if admission is None:
        return
    for change in admission.changes:
        assert change.new
        base.put(change.new)
    again = ask(base, file)
    assert again is not None
    assert not again
    assert [change.new for change in again.changes] == [base.get(document.key) for document in file]


@given(GROWN)
def test_what_is_declared_can_be_declared_again_from_nothing(base: Inventory):
    documents = [Document(each.kind, each.name, each.spec) for each in base]
    try:
        admit(Inventory(), documents, physnets=frozenset({"ext", "dmz"}), underlay_mtu=1500, revision=1)
    except UserError as error:
        # A pool that was made smaller still has users outside it, who find no place in it from nothing.
        assert all("no address is free" in problem.message for problem in error.problems)


@given(GROWN, st.sets(st.builds(Key, st.sampled_from(["Port", "Network", "Router", "ExternalNetwork"]), NAMES)))
def test_deletion_never_leaves_a_reference_behind(base: Inventory, keys: set[Key]):
    before = state(base)
    try:
        admission = admit_delete(base, keys)
    except OvenbirdError as error:
        assert error.problems
        assert state(base) == before
        return
    for change in admission.changes:
        base.remove(change.key)
        # Users go first, so that a reader who sees half of it never sees a dangling reference.
        assert all(base.get(target) for each in base for target in references(each))
    assert state(base).keys() == before.keys() - keys
