"""`ovenbird port attach|detach|list`."""

from __future__ import annotations

import time
from typing import Any

import click

from ovenbird.api.client import Client
from ovenbird.cli.output import emit, outline, output_option, say, table
from ovenbird.cli.servers import Servers
from ovenbird.model.errors import Timeout

POLL_S = 0.2


@click.group()
def port() -> None:
    """Attach and detach workloads."""


@port.command(
    epilog="Examples: ovenbird port attach vm1 --node c1 --wait · ovenbird port attach vm2 --node h3 --interface tap7"
)
@click.argument("name")
@click.option("--node", required=True, help="Host that the workload is on.")
@click.option("--interface", metavar="IF", help="Bind this existing interface or tap, instead of making a namespace.")
@click.option("--static", is_flag=True, help="In the namespace, set the declared address instead of asking DHCP.")
@click.option("--wait", "wait_", is_flag=True, help="Wait until the workload has its address and the port is up.")
@click.option(
    "--timeout", "timeout_s", default=30.0, show_default=True, metavar="SECONDS", help="Longest time to --wait."
)
@output_option
@click.pass_obj
def attach(
    servers: Servers,
    name: str,
    node: str,
    interface: str | None,
    static: bool,
    wait_: bool,
    timeout_s: float,
    output: str,
) -> None:
    """Attach a workload to the declared port NAME.

    Without --interface, a network namespace on that node becomes the workload: a veth into it, address by DHCP,
    default route.
    """
    if interface and static:
        raise click.UsageError("--static is for namespaces; an interface's owner sets its address")
    spec = {"type": "interface" if interface else "namespace", "address": "static" if static else "dhcp"}
    if interface:
        spec["interface"] = interface
    client = servers.client()
    answer = client.post("/v1/attachments", {"port": name, "node": node, "spec": spec})
    if wait_:
        answer = wait_attached(client, name, timeout_s)
    else:
        say(f"Port/{name} is wanted on {node}; its agent attaches it")
    emit(answer, output, lambda: outline(answer))


@port.command(epilog="Example: ovenbird port detach vm1")
@click.argument("name")
@output_option
@click.pass_obj
def detach(servers: Servers, name: str, output: str) -> None:
    """Undo an attachment; the declared port stays."""
    answer = servers.client().delete(f"/v1/attachments/{name}")
    emit(answer, output, lambda: f"Port/{name} detached")


@port.command("list", epilog="Example: ovenbird port list -o json")
@output_option
@click.pass_obj
def list_(servers: Servers, output: str) -> None:
    """List workloads, where they are and how they do."""
    answer = servers.client().get("/v1/attachments")
    emit(answer, output, lambda: as_table(answer["attachments"]))


def as_table(attachments: list[dict[str, Any]]) -> str:
    """Return one line per attachment."""
    if not attachments:
        return "nothing is attached"
    return table(
        ["port", "node", "type", "state", "address", "detail"],
        [
            [
                one["port"],
                one["node"],
                one["spec"].get("type"),
                (one.get("status") or {}).get("state", "wanted"),
                (one.get("status") or {}).get("address"),
                (one.get("status") or {}).get("detail"),
            ]
            for one in sorted(attachments, key=lambda one: str(one["port"]))
        ],
    )


def wait_attached(client: Client, name: str, timeout_s: float) -> dict[str, Any]:
    """Return the attachment once its node reports it up; raises Timeout with its last state."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = client.get("/v1/attachments")["attachments"]
        one: dict[str, Any] = next((item for item in found if item["port"] == name), {})
        status = one.get("status") or {}
        if status.get("state") == "attached":
            return one
        if time.monotonic() >= deadline:
            raise Timeout(
                f"Port/{name} is not up after {timeout_s:g} s",
                code="not_attached",
                evidence=f"{one.get('node', 'nowhere')}: {status.get('state', 'no word from the agent')}"
                + (f", {status['detail']}" if status.get("detail") else ""),
                hint="see `ovenbird status` and the agent's log on that node",
            )
        time.sleep(POLL_S)
