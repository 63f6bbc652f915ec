"""`cluster.yaml` to `Cluster` and back.

The file is the same on every host, and wrong files are found before anything starts: every problem at once, each with
its line. It must never read a file: callers hand over the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import yaml
from pydantic import ValidationError

from ovenbird.model.cluster import Bfd, Cluster, GatewayTimes, Host, Role, Timers
from ovenbird.model.cluster_bgp import bgp_of, bgp_problems, bgp_problems_among, render_bgp
from ovenbird.model.cluster_fields import ClusterFields, GatewayFields, HostFields
from ovenbird.model.documents import bad_input
from ovenbird.model.errors import Problem
from ovenbird.model.explain import did_you_mean, explain, name_hint
from ovenbird.model.located_yaml import Located, Path, load
from ovenbird.model.objects import NAME_PATTERN

_HOST_NAME = re.compile(NAME_PATTERN)
_ROLES = tuple(role.value for role in Role)
_MOST_CENTRALS = 7


@dataclass(frozen=True, slots=True)
class ClusterFile:
    """A good cluster file, and what an operator should know about it."""

    cluster: Cluster
    warnings: tuple[Problem, ...] = ()


def parse_cluster(text: str, file: str = "cluster.yaml") -> ClusterFile:
    """Return the cluster that a text describes. Raises UserError (`bad_input`) that carries every problem."""
    documents, problems = load(text, file)
    if len(documents) != 1 or not isinstance(documents[0].value, dict):
        message = "a cluster file is one YAML mapping with the fields name and hosts"
        raise bad_input(file, [*problems, Problem(message=message, file=file, line=1)])
    reader = _Reader(documents[0], file)
    cluster = reader.cluster()
    if cluster is None or problems or reader.problems:
        raise bad_input(file, [*problems, *reader.problems])
    return ClusterFile(cluster, tuple(reader.warnings))


def render_cluster(cluster: Cluster) -> str:
    """Return a cluster file that `parse_cluster` reads back to the same cluster."""
    hosts = []
    for host in cluster.hosts:
        fields: dict[str, Any] = {
            "name": host.name,
            "address": host.address,
            "roles": [role.value for role in Role if role in host.roles],
        }
        if host.uplinks:
            fields["uplinks"] = dict(host.uplinks)
        if host.underlay_interface:
            fields["underlay_interface"] = host.underlay_interface
        if host.zone:
            fields["zone"] = host.zone
        if host.weight != 1:
            fields["weight"] = host.weight
        if host.bgp is not None:
            fields["bgp"] = render_bgp(host.bgp)
        hosts.append(fields)
    bfd, times = cluster.own_bfd, cluster.gateways
    whole = {
        "name": cluster.name,
        "datapath": cluster.datapath,
        "underlay_mtu": cluster.underlay_mtu,
        "election_timer_ms": cluster.election_timer_ms,
        "timers": cluster.timers.value,
        **({"bfd": {"min_rx_ms": bfd.min_rx_ms, "min_tx_ms": bfd.min_tx_ms, "mult": bfd.mult}} if bfd else {}),
        **({"gateways": asdict(times)} if times != GatewayTimes() else {}),
        "hosts": hosts,
    }
    return yaml.dump(whole, Dumper=yaml.CSafeDumper, sort_keys=False)


def _host(fields: HostFields) -> Host:
    own = {"roles": frozenset(map(Role, fields.roles)), "uplinks": dict(fields.uplinks)}
    return Host(**{**dict(fields), **own, "bgp": bgp_of(fields.bgp) if fields.bgp is not None else None})


class _Reader:
    """Reads the one document of a cluster file."""

    def __init__(self, located: Located, file: str) -> None:
        self._located = located
        self._file = file
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    def cluster(self) -> Cluster | None:
        """Return the cluster, or None with `problems` saying why not."""
        try:
            fields = ClusterFields.model_validate(self._located.value, strict=True)
        except ValidationError as error:
            for path, message, hint in explain(error, ClusterFields):
                self.problems.append(self._problem(message, path, hint))
            return None
        for at, host in enumerate(fields.hosts):
            self.problems.extend(self._host(at, host))
        self.problems.extend(self._clashes(fields.hosts))
        self.problems.extend(self._problem(*found) for found in bgp_problems_among(fields.hosts))
        self.problems.extend(self._times(fields.gateways))
        if self.problems:
            return None
        hosts = tuple(_host(host) for host in fields.hosts)
        plain = {name: value for name, value in fields if name not in ("hosts", "timers", "bfd", "gateways")}
        own_bfd = Bfd(**dict(fields.bfd)) if fields.bfd else None
        times = GatewayTimes(**dict(fields.gateways))
        cluster = Cluster(**plain, hosts=hosts, timers=Timers(fields.timers), own_bfd=own_bfd, gateways=times)
        self.problems.extend(self._quorum(cluster))
        self.warnings.extend(self._advice(cluster))
        return cluster

    def _problem(self, message: str, path: Path, hint: str = "") -> Problem:
        return Problem(message=message, file=self._file, line=self._located.line_of(path), hint=hint)

    def _host(self, at: int, host: HostFields) -> Iterator[Problem]:
        if not _HOST_NAME.match(host.name):
            reason = "it is also the chassis name, so only a-z, 0-9, '-' and '.', 1 to 63 characters"
            hint = reason if "@" in host.name else f"{name_hint(host.name).split(';')[0]}; {reason}"
            yield self._problem(f"{host.name!r} is not a valid host name", ("hosts", at, "name"), hint)
        for index, role in enumerate(host.roles):
            if role not in _ROLES:
                yield self._problem(f"unknown role {role!r}", ("hosts", at, "roles", index), did_you_mean(role, _ROLES))
        if not host.roles:
            yield self._problem(f"host {host.name} has no role", ("hosts", at, "roles"), f"known: {', '.join(_ROLES)}")
        seen: dict[str, str] = {}
        for physnet, interface in host.uplinks.items():
            other = "the underlay" if interface == host.underlay_interface else seen.setdefault(interface, physnet)
            if other != physnet:
                message = f"interface {interface!r} is the uplink of {physnet} and also {other}'s"
                yield self._problem(message, ("hosts", at, "uplinks", physnet), "give each its own interface")
        for found in bgp_problems(at, host):
            yield self._problem(*found)

    def _clashes(self, hosts: tuple[HostFields, ...]) -> Iterator[Problem]:
        for field in ("name", "address"):
            first: dict[str, int] = {}
            for at, host in enumerate(hosts):
                value = getattr(host, field)
                before = first.setdefault(value, at)
                if before != at:
                    line = self._located.line_of(("hosts", before, field))
                    message = f"the {field} {value} is given to two hosts; first on line {line}"
                    yield self._problem(message, ("hosts", at, field), f"each host has its own {field}")

    def _times(self, times: GatewayFields) -> Iterator[Problem]:
        if times.longest_hold_down_s < times.hold_down_s:
            message = f"the longest hold-down, {times.longest_hold_down_s} s, is less than the first one"
            given = "longest_hold_down_s" if "longest_hold_down_s" in times.model_fields_set else "hold_down_s"
            yield self._problem(message, ("gateways", given), f"{times.hold_down_s} s (hold_down_s) or more")

    def _quorum(self, cluster: Cluster) -> Iterator[Problem]:
        count = len(cluster.centrals)
        if not count:
            hint = "give 1, 3 or 5 hosts the role central"
            yield self._problem("no host has the role central, so nothing keeps the databases", ("hosts",), hint)
        elif count > _MOST_CENTRALS:
            hint = "3 or 5; more members make every write slower and nothing safer"
            yield self._problem(f"{count} hosts have the role central", ("hosts",), hint)

    def _advice(self, cluster: Cluster) -> Iterator[Problem]:
        count = len(cluster.centrals)
        if count and count % 2 == 0:
            message = f"{count} central hosts survive no more failures than {count - 1} would, and fail more often"
            yield self._problem(message, ("hosts",), "give the role central to 1, 3 or 5 hosts")
        gateways = [(at, host) for at, host in enumerate(cluster.hosts) if Role.GATEWAY in host.roles]
        for at, host in gateways:
            if not host.physnets:
                message = f"gateway {host.name} has no uplinks, so it can carry no router"
                yield self._problem(message, ("hosts", at), "add uplinks: {physnet: interface}")
        if not gateways:
            yield self._problem("no host has the role gateway: networks cannot reach the outside", ("hosts",))
        if cluster.bfd.detect_ms < 60:
            message = f"BFD would call a gateway dead after {cluster.bfd.detect_ms} ms; a busy host is late by more"
            yield self._problem(message, ("bfd",), "60 ms or more")
