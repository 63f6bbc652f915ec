"""`ovenbird get`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from ovenbird.cli.kinds import ALIASES, kind_argument
from ovenbird.cli.output import emit, output_option, scalar, table
from ovenbird.cli.servers import Servers

Cell = Callable[[Mapping[str, Any], Mapping[str, Any]], Any]
"""From an object's spec and what was assigned to it, one cell."""

COLUMNS: dict[str, dict[str, Cell]] = {
    "ExternalNetwork": {
        "physnet": lambda spec, _: spec.get("physnet"),
        "vlan": lambda spec, _: spec.get("vlan"),
        "cidr": lambda spec, _: spec.get("cidr"),
        "gateway": lambda spec, _: spec.get("gateway"),
        "pool": lambda spec, _: scalar(spec.get("pool")),
    },
    "Network": {
        "cidr": lambda spec, _: spec.get("cidr"),
        "router": lambda spec, _: spec.get("router"),
        "gateway": lambda spec, assigned: assigned.get("address") or spec.get("gateway"),
        "dhcp": lambda spec, _: scalar(spec.get("dhcp", True)),
    },
    "Router": {
        "external": lambda spec, _: ", ".join(
            leg["network"] for leg in (spec.get("external"), *spec.get("further", ())) if leg
        ),
        "address": lambda spec, assigned: (
            ", ".join([assigned["address"], *assigned.get("others", ())])
            if assigned.get("address")
            else (spec.get("external") or {}).get("address")
        ),
        "mode": lambda spec, _: (
            (spec.get("gateways") or {}).get("mode", "active-standby") if spec.get("external") else None
        ),
        "snat": lambda spec, _: scalar(spec["external"].get("snat", True)) if spec.get("external") else None,
        "routes": lambda spec, _: ", ".join(f"{route['to']} via {route['via']}" for route in spec.get("routes") or ()),
    },
    "Port": {
        "network": lambda spec, _: spec.get("network"),
        "address": lambda spec, assigned: assigned.get("address") or spec.get("address"),
        "mac": lambda spec, assigned: assigned.get("mac") or spec.get("mac"),
    },
    "FloatingIP": {
        "network": lambda spec, _: spec.get("network"),
        "address": lambda spec, assigned: assigned.get("address") or spec.get("address"),
        "port": lambda spec, _: spec.get("port"),
        "distributed": lambda spec, _: scalar(spec.get("distributed", False)),
    },
    "LoadBalancer": {
        "network": lambda spec, _: spec.get("network"),
        "address": lambda spec, assigned: assigned.get("address") or spec.get("address"),
        "protocol": lambda spec, _: spec.get("protocol", "tcp"),
        "ports": lambda spec, _: ", ".join(map(_listener, spec.get("ports") or ())),
    },
}


def _listener(listener: Mapping[str, Any]) -> str:
    """Return "80 -> vm1:8080 vm2:8080"."""
    outer = listener["port"]
    targets = (f"{target['port']}:{target.get('target_port') or outer}" for target in listener["targets"])
    return f"{outer} -> {' '.join(targets)}"


def tables(objects: Sequence[Mapping[str, Any]]) -> str:
    """Return one table per kind, with that kind's own columns."""
    parts = []
    for kind, columns in COLUMNS.items():
        chosen = [item for item in objects if item["kind"] == kind]
        rows = [
            [
                item["name"],
                *(cell(item["spec"], item.get("assigned") or {}) for cell in columns.values()),
                item["revision"],
            ]
            for item in sorted(chosen, key=lambda item: item["name"])
        ]
        if rows:
            parts.append(table([kind, *columns, "revision"], rows))
    return "\n\n".join(parts) or "nothing is declared"


@click.command(
    epilog=f"Kinds: {', '.join(ALIASES)}; also in the plural and short (net, extnet, fip, lb)."
    "  Example: ovenbird get ports"
)
@kind_argument(required=False)
@click.argument("name", required=False)
@output_option
@click.pass_obj
def get(servers: Servers, kind: str | None, name: str | None, output: str) -> None:
    """List declared objects.

    All of them, those of a KIND, or the one of that KIND and NAME. With -o yaml they are printed as declarations that
    can be applied again.
    """
    client = servers.client()
    if kind and name:
        one = client.get(f"/v1/objects/{kind}/{name}")
        only: dict[str, Any] = {key: one[key] for key in ("kind", "name", "spec", "assigned", "revision") if key in one}
        show(only, [only], output)
        return
    answer = client.get("/v1/objects", query={"kind": kind or ""})
    show(answer, answer["objects"], output)


def show(answer: Any, objects: Sequence[Mapping[str, Any]], output: str) -> None:
    """Print objects; as YAML they are declarations, which can be applied again."""
    if output == "yaml":
        import yaml

        declarations = [{key: one[key] for key in ("kind", "name", "spec")} for one in objects]
        click.echo(yaml.safe_dump_all(declarations, sort_keys=False, explicit_start=True).rstrip("\n"))
    else:
        emit(answer, output, lambda: tables(objects))
