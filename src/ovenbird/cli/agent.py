"""`ovenbird agent`: runs this host's agent in the foreground until it is told to end."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option(
    "--cluster",
    "cluster_file",
    type=click.Path(path_type=Path),
    help="Cluster description.  [default: /etc/ovenbird/cluster.yaml]",
)
@click.option("--node", default="", help="Name of this host.  [default: /etc/ovenbird/node, else the hostname]")
@click.option(
    "--root", type=click.Path(path_type=Path), default=Path("/"), hidden=True, help="Directory that stands for /."
)
@click.option("--verbose", is_flag=True, help="Log more.")
def agent(cluster_file: Path | None, node: str, root: Path, verbose: bool) -> None:
    """Run this host's agent.

    Starts or adopts the daemons of the host's roles and keeps them. The daemons go on when the agent ends.
    """
    import asyncio
    import logging

    from ovenbird.agent.identity import find_host, node_name
    from ovenbird.agent.logs import start_logging
    from ovenbird.agent.main import Agent
    from ovenbird.agent.single import only_agent
    from ovenbird.model.cluster_file import parse_cluster
    from ovenbird.model.errors import UserError
    from ovenbird.model.layout import Layout

    layout = Layout(root)
    path = cluster_file or layout.cluster_file
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot read the cluster description {path}: {error.strerror}", subject=str(path)) from error
    described = parse_cluster(text, file=str(path))
    host = find_host(described.cluster, node_name(layout, node))
    start_logging(host.name, verbose=verbose)
    for warning in described.warnings:
        logging.getLogger(__name__).warning("cluster_file.warning", extra={"problem": warning.render()})
    with only_agent(layout.agent_pidfile):
        asyncio.run(Agent(described.cluster, host, layout).run())
