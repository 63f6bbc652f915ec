"""The API's endpoints (docs/architecture.md, "HTTP API"): parse, call the service, render. Nothing is decided here."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route

from ovenbird.api.audit import audited
from ovenbird.api.boundary import BAD_REQUEST, endpoint, field, json_body, on_http_exception
from ovenbird.api.check import checked
from ovenbird.api.objects import described, keys_of, object_json, outcome_json, parsed
from ovenbird.api.status import StatusReporter
from ovenbird.controller.gateway_operations import GatewayOperations
from ovenbird.controller.service import ControllerService
from ovenbird.model.errors import UserError
from ovenbird.model.objects import KINDS, Key
from ovenbird.model.schema import json_schema
from ovenbird.plan.legs import router_of

READ_S = 10.0
WRITE_S = 110.0
AUDIT_S = 60.0
READY_S = 4.0
"""How long a question waits for the Ovenbird database, through an election or two."""
LONGEST_WAIT_S = 3600.0


class Api:
    """The handlers, over one service."""

    def __init__(self, service: ControllerService, reporter: StatusReporter) -> None:
        self._service = service
        self._store = service.store
        self._reporter = reporter
        self._gateways = GatewayOperations(service)

    async def apply(self, request: Request) -> Any:
        """Declare objects."""
        body = await json_body(request)
        files = field(body, "documents", list)
        dry_run = field(body, "dry_run", bool, default=False)
        documents = await asyncio.to_thread(parsed, files)
        return await asyncio.to_thread(outcome_json, await self._store.apply(documents, dry_run=dry_run))

    async def delete(self, request: Request) -> Any:
        """Take objects out of what is declared."""
        body = await json_body(request)
        dry_run = field(body, "dry_run", bool, default=False)
        if "documents" in body:
            keys = [each.key for each in await asyncio.to_thread(parsed, field(body, "documents", list))]
        else:
            keys = keys_of(field(body, "objects", list))
        return await asyncio.to_thread(outcome_json, await self._store.delete(keys, dry_run=dry_run))

    async def objects(self, request: Request) -> Any:
        """List what is declared."""
        kind = request.query_params.get("kind", "")
        kinds = [_kind(kind)] if kind else list(KINDS)
        await self._store.ready(READY_S)
        inventory = self._store.inventory
        found = [inventory.of_kind(each) for each in kinds]
        return {
            "revision": self._store.revision,
            "objects": [object_json(of_kind[name]) for of_kind in found for name in sorted(of_kind)],
        }

    async def one_object(self, request: Request) -> Any:
        """Tell everything known about one object."""
        key = Key(_kind(request.path_params["kind"]), request.path_params["name"])
        await self._store.ready(READY_S)
        return described(self._service, key)

    async def wait(self, request: Request) -> Any:
        """Wait until a revision is realised."""
        body = await json_body(request)
        timeout_s = float(field(body, "timeout_s", int, float, default=30.0))
        if not 0 <= timeout_s <= LONGEST_WAIT_S:
            raise UserError(f'"timeout_s" must be between 0 and {LONGEST_WAIT_S:g}', code=BAD_REQUEST)
        revision = field(body, "revision", int, default=None)
        # A host that is cut off would wait in vain for what others have long realised: let another one be asked.
        await self._store.ready(READY_S)
        return (await self._service.realisation.wait(revision, timeout_s)).to_json()

    async def audit(self, request: Request) -> Any:
        """Tell what a full audit would do to NB, by the acting controller only; others are unavailable for it."""
        await self._store.ready(READY_S)
        return await audited(self._service)

    async def check(self, request: Request) -> Any:
        """Tell what is unsafe as it is built."""
        await self._store.ready(READY_S)
        return await checked(self._service)

    async def status(self, request: Request) -> Any:
        """Tell how it is."""
        return await self._reporter.report()

    async def attachments(self, request: Request) -> Any:
        """List the attachments."""
        await self._store.ready(READY_S)
        return {"attachments": [each.to_json() for each in self._store.attachments()]}

    async def attach(self, request: Request) -> Any:
        """Want a port on a node."""
        body = await json_body(request)
        port, node, spec = field(body, "port", str), field(body, "node", str), field(body, "spec", dict, default={})
        return (await self._store.attach(port, node, spec)).to_json()

    async def detach(self, request: Request) -> Any:
        """No longer want a port anywhere."""
        await self._store.detach(request.path_params["port"])
        return {}

    async def gateways(self, request: Request) -> Any:
        """List gateways and the routers that they carry."""
        return (await self._gateways.view()).to_json()

    async def drain(self, request: Request) -> Any:
        """Have a gateway carry nothing."""
        body = await json_body(request)
        return (
            await self._gateways.drain(field(body, "node", str), force=_flag(body, "force"), **_dry(body))
        ).to_json()

    async def undrain(self, request: Request) -> Any:
        """Let a gateway carry routers again."""
        body = await json_body(request)
        return (await self._gateways.undrain(field(body, "node", str), **_dry(body))).to_json()

    async def move(self, request: Request) -> Any:
        """Make a gateway a router's home."""
        body = await json_body(request)
        router, to = field(body, "router", str), field(body, "to", str)
        return (await self._gateways.move(router, to, force=_flag(body, "force"), **_dry(body))).to_json()

    async def rebalance(self, request: Request) -> Any:
        """Spread routers over gateways."""
        return (await self._gateways.rebalance(**_dry(await json_body(request)))).to_json()

    async def gateway_history(self, request: Request) -> Any:
        """Tell which gateway carried which router when, newest first."""
        await self._store.ready(READY_S)
        router = request.query_params.get("router", "")
        changes = sorted(self._store.state.gateway_changes.values(), key=lambda change: (-change.at_ms, change.router))
        told = (change for change in changes if router in ("", change.router, router_of(change.router)))
        pinned = self._service.gateways.pinned
        return {"changes": [change.to_json(pinned=change.router in pinned) for change in told]}

    async def schema(self, request: Request) -> Any:
        """Return the JSON Schema of declarations."""
        return json_schema()


def make_app(service: ControllerService, reporter: StatusReporter) -> Starlette:
    """Return the application."""
    api = Api(service, reporter)
    one = "/v1/objects/{kind}/{name}"
    routes = [
        Route("/v1/apply", endpoint(api.apply, timeout_s=WRITE_S), methods=["POST"]),
        Route("/v1/delete", endpoint(api.delete, timeout_s=WRITE_S), methods=["POST"]),
        Route("/v1/objects", endpoint(api.objects, timeout_s=READ_S)),
        Route(one, endpoint(api.one_object, timeout_s=READ_S)),
        Route("/v1/wait", endpoint(api.wait, timeout_s=None), methods=["POST"]),
        Route("/v1/audit", endpoint(api.audit, timeout_s=AUDIT_S)),
        Route("/v1/check", endpoint(api.check, timeout_s=READ_S)),
        Route("/v1/status", endpoint(api.status, timeout_s=READ_S)),
        Route("/v1/attachments", endpoint(api.attachments, timeout_s=READ_S)),
        Route("/v1/attachments", endpoint(api.attach, timeout_s=WRITE_S), methods=["POST"]),
        Route("/v1/attachments/{port}", endpoint(api.detach, timeout_s=WRITE_S), methods=["DELETE"]),
        Route("/v1/gateways", endpoint(api.gateways, timeout_s=READ_S)),
        Route("/v1/gateways/history", endpoint(api.gateway_history, timeout_s=READ_S)),
        Route("/v1/gateways/drain", endpoint(api.drain, timeout_s=WRITE_S), methods=["POST"]),
        Route("/v1/gateways/undrain", endpoint(api.undrain, timeout_s=WRITE_S), methods=["POST"]),
        Route("/v1/gateways/move", endpoint(api.move, timeout_s=WRITE_S), methods=["POST"]),
        Route("/v1/gateways/rebalance", endpoint(api.rebalance, timeout_s=WRITE_S), methods=["POST"]),
        Route("/v1/schema", endpoint(api.schema, timeout_s=READ_S)),
    ]
    return Starlette(routes=routes, exception_handlers={HTTPException: on_http_exception})


def _flag(body: dict[str, Any], name: str) -> bool:
    return bool(field(body, name, bool, default=False))


def _dry(body: dict[str, Any]) -> dict[str, bool]:
    return {"dry_run": _flag(body, "dry_run")}


def _kind(text: str) -> str:
    if text not in KINDS:
        raise UserError(f'unknown kind "{text}"', code="unknown_kind", hint=f"kinds are {', '.join(KINDS)}")
    return text
