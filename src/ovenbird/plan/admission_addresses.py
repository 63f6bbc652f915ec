"""What admission asks of addresses and MACs: inside their network, usable, and nobody else's.

Each check records what is wrong in `Findings` and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from ovenbird.model.addresses import Subnet, format_address, parse_address
from ovenbird.model.objects import Declared, Key
from ovenbird.plan.findings import Findings, Place
from ovenbird.plan.index_terms import claimed_mac
from ovenbird.plan.inventory import InventoryView


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressChecks:
    """The rules of addresses and MACs."""

    view: InventoryView
    found: Findings

    def check(
        self,
        declared: Declared,
        space: Key,
        subnet: Subnet,
        path: tuple[str | int, ...],
        *,
        beside: frozenset[str] = frozenset(),
        address: str | None = None,
    ) -> None:
        """Check the address that an object has in a network; others of the kinds `beside` may have it too.

        `address`: another than the one that was assigned to the object first.
        """
        address = declared.assigned.address if address is None else address
        if not address:
            return
        place = Place(declared.key, path)
        if self.usable(address, subnet, str(space), place, Place(space, ("cidr",))):
            self.taken(declared.key, parse_address(address), place, space, beside=beside)

    def usable(self, address: str, subnet: Subnet, owner: str, *places: Place) -> bool:
        """Check that a host may have an address of the network, and return whether it may."""
        number = parse_address(address)
        if subnet.first <= number <= subnet.last:
            return True
        if number not in subnet:
            message = f"{address} is outside {owner} ({subnet})"
        else:
            what = "network" if number == subnet.base else "broadcast"
            message = f"{address} is the {what} address of {subnet}"
        usable = f"{format_address(subnet.first)}-{format_address(subnet.last)}"
        self.found.problem(message, *places, hint=f"choose one of {usable}")
        return False

    def taken(
        self, key: Key, number: int, place: Place, space: Key | None = None, *, beside: frozenset[str] = frozenset()
    ) -> None:
        """Check that nobody had an address before; without `space`, it is a network's own gateway."""
        claimants = self.view.address_owners(space or key, number)
        owners = {owner for owner in claimants if owner == key or owner.kind not in beside}
        if len(owners) < 2 or (first := self.found.first_of(owners)) == key:
            return
        address = format_address(number)
        if space is None:
            message = f"gateway {address} is already used by {first}{self.found.line_note(first)}"
        elif first == space:
            message = f"{address} is the gateway of {first}"
        else:
            message = f"{address} is already used by {first}{self.found.line_note(first)}"
        hint = "choose another address, or leave it out to get a free one"
        self.found.problem(message, place, Place(space or key), hint=hint)

    def mac(self, declared: Declared) -> None:
        """Check that nobody had the object's MAC before."""
        mac = claimed_mac(declared)
        owners = self.view.mac_owners(mac) if mac else frozenset()
        if len(owners) > 1 and (first := self.found.first_of(owners)) != declared.key:
            message = f"MAC {mac} is already used by {first}{self.found.line_note(first)}"
            hint = "a MAC is unique in the cluster; leave it out to get one"
            self.found.problem(message, Place(declared.key, ("mac",)), hint=hint)
