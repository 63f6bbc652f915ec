"""The declared state with its indexes, kept by deltas, and a cheap draft of a changed one.

`Inventory` is what is declared; `Draft` is an inventory plus changes that nobody has accepted yet. A draft holds only
its differences, so trying one changed port among 10,000 costs microseconds, and a rejected file leaves nothing behind.
Both answer the same questions (`InventoryView`), each in the time of its answer: no question scans the objects.
An index holds every claimant of an address or a MAC, so that conflicts can be seen and any order of puts ends the same.
It must never judge what it holds: see `ovenbird.plan.admission`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import Protocol, TypeVar, cast

from ovenbird.model.addresses import Range, parse_address
from ovenbird.model.objects import Declared, Key, Network, Port, Spec
from ovenbird.plan.index_terms import (
    ADDRESS,
    BACKED,
    MAC,
    SEGMENT,
    TRANSLATED,
    TRANSLATORS,
    USER,
    Term,
    claims_of,
    terms_of,
    translated_candidates,
)

S = TypeVar("S", bound=Spec)
_BLOCK_BITS = 12
_BLOCK = 1 << _BLOCK_BITS
"""Addresses per bitmap of the search for a free address: one Python int of 512 bytes."""


class InventoryView(Protocol):
    """Read access to declared state. No answer may be changed by its reader."""

    def get(self, key: Key) -> Declared | None:
        """Return the object, or None."""

    def spec(self, kind: type[S], name: str | None) -> S | None:
        """Return the object's spec with its own type, or None."""

    def of_kind(self, kind: str) -> Mapping[str, Declared]:
        """Return every object of a kind by name."""

    def users(self, key: Key) -> AbstractSet[Key]:
        """Return the objects that refer to this one directly, whether or not it exists."""

    def address_owners(self, network: Key, address: int) -> AbstractSet[Key]:
        """Return every claimant of an address of a Network or ExternalNetwork, its gateway included."""

    def address_owner(self, network: Key, address: str) -> Key | None:
        """Return who has an address of a Network or ExternalNetwork; the network itself has its gateway."""

    def mac_owners(self, mac: str) -> AbstractSet[Key]:
        """Return every claimant of a MAC (lower case)."""

    def mac_owner(self, mac: str) -> Key | None:
        """Return who has a MAC (lower case)."""

    def lowest_free(self, network: Key, ranges: Iterable[Range]) -> int | None:
        """Return the first address of the ranges, taken in their order, that nobody claims."""

    def networks_of(self, router: str) -> list[Declared]:
        """Return the Networks attached to a router, by name."""

    def floating_ips_of(self, router: str) -> list[Declared]:
        """Return the FloatingIPs whose port's network is attached to a router, by name."""

    def load_balancers_of(self, router: str) -> list[Declared]:
        """Return the LoadBalancers with a target in a network attached to a router, by name."""

    def networks_on(self, physnet: str, vlan: int | None) -> AbstractSet[Key]:
        """Return the ExternalNetworks and Networks that a VLAN of a physical network carries (None: untagged)."""

    def physnets_of(self, router: str) -> frozenset[str]:
        """Return the physical networks that carry Networks attached to a router."""


class _Indexed(ABC):
    """The questions and the upkeep of indexes, over a store of objects, of index members and of bitmaps."""

    @abstractmethod
    def get(self, key: Key) -> Declared | None: ...

    @abstractmethod
    def of_kind(self, kind: str) -> Mapping[str, Declared]: ...

    @abstractmethod
    def _members(self, term: Term) -> AbstractSet[Key]: ...

    @abstractmethod
    def _store(self, key: Key, declared: Declared | None) -> None: ...

    @abstractmethod
    def _add(self, term: Term, key: Key) -> None: ...

    @abstractmethod
    def _discard(self, term: Term, key: Key) -> None: ...

    @abstractmethod
    def _bitmap(self, block: tuple[Key, int]) -> int: ...

    @abstractmethod
    def _set_bitmap(self, block: tuple[Key, int], bits: int) -> None: ...

    # Upkeep.

    def put(self, declared: Declared) -> None:
        """Add an object or replace the one of that key."""
        self._replace(declared.key, declared)

    def remove(self, key: Key) -> None:
        """Remove an object; unknown ones are ignored."""
        self._replace(key, None)

    def _replace(self, key: Key, new: Declared | None) -> None:
        old = self.get(key)
        if old is new:
            return
        if old is None and new is not None and key[0] not in TRANSLATORS:
            self._insert(key, new)
            return
        if old and new and old.spec is new.spec:
            # Only what is assigned differs: who refers to whom stays, and so does what floating IPs lead to.
            ports, before, after = set[Key](), claims_of(old), claims_of(new)
        else:
            ports, before, after = translated_candidates(key, old, new), terms_of(old), terms_of(new)
        for port in ports:
            self._index_translated(port, present=False)
        self._store(key, new)
        for term in before:
            if term not in after:
                self._discard(term, key)
                self._mark(term)
        for term in after:
            if term not in before:
                self._add(term, key)
                self._mark(term)
        for port in ports:
            self._index_translated(port, present=True)

    def _insert(self, key: Key, new: Declared) -> None:
        """Add an object of a new key: nothing of it is to be taken back first."""
        self._store(key, new)
        for term in terms_of(new):
            self._add(term, key)
            if term[0] is ADDRESS:
                self._use(term)
        if key[0] == "Port":
            self._index_translated(key, present=True)

    def assign(
        self, key: Key, declared: Declared, space: Key, address: int, *, took_address: bool, took_mac: bool
    ) -> None:
        """Put an object that was given an address of a network, a MAC, or both, and is as it was otherwise."""
        self._store(key, declared)
        if took_mac:
            self._add((MAC, declared.assigned.mac), key)
        if took_address:
            term = (ADDRESS, space, address)
            self._add(term, key)
            self._use(term)

    def _use(self, term: Term) -> None:
        """Mark an address as used."""
        _, space, number = cast("tuple[str, Key, int]", term)
        block = (space, number >> _BLOCK_BITS)
        self._set_bitmap(block, self._bitmap(block) | 1 << (number & (_BLOCK - 1)))

    def _index_translated(self, port: Key, *, present: bool) -> None:
        """Keep, per network, which of its ports have a floating IP or are a load balancer's target."""
        declared = self.get(port)
        if declared is None or not isinstance(declared.spec, Port):
            return
        if self._members((USER, port)):
            change = self._add if present else self._discard
            change((TRANSLATED, Key("Network", declared.spec.network)), port)

    def _mark(self, term: Term) -> None:
        """Keep the bitmap of used addresses in step with the members of an address."""
        if term[0] != ADDRESS:
            return
        _, space, number = cast("tuple[str, Key, int]", term)
        block, bit = (space, number >> _BLOCK_BITS), 1 << (number & (_BLOCK - 1))
        bits = self._bitmap(block)
        self._set_bitmap(block, bits | bit if self._members(term) else bits & ~bit)

    # Questions.

    def spec(self, kind: type[S], name: str | None) -> S | None:
        declared = self.get(Key(kind.__name__, name)) if name else None
        return declared.spec if declared and isinstance(declared.spec, kind) else None

    def users(self, key: Key) -> AbstractSet[Key]:
        return self._members((USER, key))

    def address_owners(self, network: Key, address: int) -> AbstractSet[Key]:
        return self._members((ADDRESS, network, address))

    def address_owner(self, network: Key, address: str) -> Key | None:
        return min(self.address_owners(network, parse_address(address)), default=None)

    def mac_owners(self, mac: str) -> AbstractSet[Key]:
        return self._members((MAC, mac))

    def mac_owner(self, mac: str) -> Key | None:
        return min(self.mac_owners(mac), default=None)

    def networks_on(self, physnet: str, vlan: int | None) -> AbstractSet[Key]:
        return self._members((SEGMENT, physnet, vlan))

    def physnets_of(self, router: str) -> frozenset[str]:
        found = (self.spec(Network, key.name) for key in self._members((BACKED, router)))
        return frozenset(spec.physnet for spec in found if spec is not None and spec.physnet is not None)

    def lowest_free(self, network: Key, ranges: Iterable[Range]) -> int | None:
        for first, last in ranges:
            for block in range(first >> _BLOCK_BITS, (last >> _BLOCK_BITS) + 1):
                base = block << _BLOCK_BITS
                wanted = _bits(max(first - base, 0), min(last - base, _BLOCK - 1))
                if free := wanted & ~self._bitmap((network, block)):
                    return base + (free & -free).bit_length() - 1
        return None

    def networks_of(self, router: str) -> list[Declared]:
        return list(self._existing(self.users(Key("Router", router))))

    def floating_ips_of(self, router: str) -> list[Declared]:
        return self._translating(router, "FloatingIP")

    def load_balancers_of(self, router: str) -> list[Declared]:
        return self._translating(router, "LoadBalancer")

    def _translating(self, router: str, kind: str) -> list[Declared]:
        ports = (port for network in self.users(Key("Router", router)) for port in self._members((TRANSLATED, network)))
        return list(self._existing({user for port in ports for user in self.users(port) if user.kind == kind}))

    def _existing(self, keys: Iterable[Key]) -> Iterator[Declared]:
        return (declared for key in sorted(keys) if (declared := self.get(key)))


@lru_cache(256)
def _bits(low: int, high: int) -> int:
    """Return the number in which the bits from `low` to `high` are set."""
    return ((1 << (high + 1)) - 1) & ~((1 << low) - 1)


_NOBODY: frozenset[Key] = frozenset()
_Members = dict[Term, Key | set[Key]]
"""Who stands under a term. Most addresses and MACs have one owner: a set is made only for the second."""


def _add_member(members: _Members, term: Term, key: Key) -> None:
    found = members.setdefault(term, key)
    if found is key:
        return
    if isinstance(found, set):
        found.add(key)
    elif found != key:
        members[term] = {found, key}


def _discard_member(members: _Members, term: Term, key: Key) -> None:
    found = members.get(term)
    if isinstance(found, set):
        found.discard(key)
    if found == key or not found:
        members.pop(term, None)


class Inventory(_Indexed):
    """Declared state. One writer; readers must not keep answers across a change."""

    def __init__(self, objects: Iterable[Declared] = ()) -> None:
        self._kinds: dict[str, dict[str, Declared]] = {}
        self._terms: _Members = {}
        self._bitmaps: dict[tuple[Key, int], int] = {}
        self.version = 0
        """Grows by one with each object that is put or removed."""
        for declared in objects:
            self.put(declared)

    def __len__(self) -> int:
        return sum(map(len, self._kinds.values()))

    def __iter__(self) -> Iterator[Declared]:
        for objects in self._kinds.values():
            yield from objects.values()

    def get(self, key: Key) -> Declared | None:
        """Return the object, or None."""
        objects = self._kinds.get(key[0])
        return objects.get(key[1]) if objects else None

    def of_kind(self, kind: str) -> Mapping[str, Declared]:
        """Return every object of a kind by name."""
        return self._kinds.get(kind, {})

    def _store(self, key: Key, declared: Declared | None) -> None:
        self.version += 1
        if declared:
            self._kinds.setdefault(key.kind, {})[key.name] = declared
        else:
            del self._kinds[key.kind][key.name]

    def _members(self, term: Term) -> AbstractSet[Key]:
        found = self._terms.get(term)
        if found is None:
            return _NOBODY
        return found if isinstance(found, set) else {found}

    def _add(self, term: Term, key: Key) -> None:
        _add_member(self._terms, term, key)

    def _discard(self, term: Term, key: Key) -> None:
        _discard_member(self._terms, term, key)

    def _bitmap(self, block: tuple[Key, int]) -> int:
        return self._bitmaps.get(block, 0)

    def _set_bitmap(self, block: tuple[Key, int], bits: int) -> None:
        if bits:
            self._bitmaps[block] = bits
        else:
            self._bitmaps.pop(block, None)


class Draft(_Indexed):
    """A base inventory plus changes. The base is only read; it must not change while the draft is used."""

    def __init__(self, base: Inventory) -> None:
        self._base = base
        self._changed: dict[Key, Declared | None] = {}
        self._added: _Members = {}
        self._removed: dict[Term, set[Key]] = {}
        self._bitmaps: dict[tuple[Key, int], int] = {}

    def get(self, key: Key) -> Declared | None:
        """Return the object as the draft has it, or None."""
        return self._changed[key] if key in self._changed else self._base.get(key)

    def of_kind(self, kind: str) -> Mapping[str, Declared]:
        """Return every object of a kind by name: a copy, so costs the time of the whole kind."""
        objects = dict(self._base.of_kind(kind))
        for key, declared in self._changed.items():
            if key.kind == kind:
                objects.pop(key.name, None)
                if declared:
                    objects[key.name] = declared
        return objects

    def _store(self, key: Key, declared: Declared | None) -> None:
        self._changed[key] = declared

    def _members(self, term: Term) -> AbstractSet[Key]:
        base, found = self._base._members(term), self._added.get(term)
        if removed := self._removed.get(term):
            base = base - removed
        if found is None:
            return base
        added = found if isinstance(found, set) else {found}
        return base | added if base else added

    def _add(self, term: Term, key: Key) -> None:
        if removed := self._removed.get(term):
            removed.discard(key)
        if key not in self._base._members(term):
            _add_member(self._added, term, key)

    def _discard(self, term: Term, key: Key) -> None:
        _discard_member(self._added, term, key)
        if key in self._base._members(term):
            self._removed.setdefault(term, set()).add(key)

    def _bitmap(self, block: tuple[Key, int]) -> int:
        bits = self._bitmaps.get(block)
        return self._base._bitmap(block) if bits is None else bits

    def _set_bitmap(self, block: tuple[Key, int], bits: int) -> None:
        self._bitmaps[block] = bits
