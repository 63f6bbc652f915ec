"""Stored objects are read back as they were written, and what cannot be understood is said, never guessed."""

from __future__ import annotations

import pytest

from ovenbird.controller.records import UnreadableRow, object_row, read_attachment, read_object
from ovenbird.model.objects import Assigned, Declared, Network, Port

PORT = Declared(
    kind="Port",
    name="vm1",
    spec=Port(network="blue", port_security=False),
    assigned=Assigned(address="10.0.0.2", mac="0a:00:00:00:00:01"),
    revision=7,
)
NETWORK = Declared(kind="Network", name="blue", spec=Network(cidr="10.0.0.0/24", dns=("192.0.2.1",)), revision=1)


@pytest.mark.parametrize("declared", [PORT, NETWORK])
def test_what_is_stored_is_read_back(declared: Declared) -> None:
    assert read_object(object_row(declared)) == declared


@pytest.mark.parametrize(
    "column",
    [{"kind": "Teleport"}, {"spec": "{"}, {"spec": '{"network": "blue", "newer": 1}'}, {"assigned": '{"newer": 1}'}],
)
def test_what_cannot_be_understood_is_an_error_of_that_row(column: dict[str, str]) -> None:
    with pytest.raises(UnreadableRow):
        read_object({**object_row(PORT), **column})


def test_an_attachment_with_strange_json_has_no_details() -> None:
    row = {"port": "vm1", "node": "h1", "spec": "[1]", "status": ""}
    assert (read_attachment(row).spec, read_attachment(row).status) == ({}, {})
