"""A FHIR server of a laboratory system that has orders and cannot send them: searched by `_lastUpdated`, page by page.

Written from R4 (search.html, http.html), not from the code that searches. Each fault is a knob.
"""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from aiohttp import web

from tests.support.waiting import until

Json = dict[str, Any]


def request(number: str, test: str = "TSH", *, status: str = "active", specimen: str = "s1", **more: Any) -> Json:
    """A ServiceRequest of patient p1 for one specimen."""
    return {
        "resourceType": "ServiceRequest",
        "id": number,
        "identifier": [{"system": "urn:his", "value": f"P-{number}"}],
        "status": status,
        "intent": "order",
        "code": {"coding": [{"code": test}]},
        "subject": {"reference": "Patient/p1"},
        "specimen": [{"reference": f"Specimen/{specimen}"}],
        **more,
    }


def task(number: str, focus: str, status: str = "requested") -> Json:
    return {
        "resourceType": "Task",
        "id": number,
        "status": status,
        "intent": "order",
        "focus": {"reference": f"ServiceRequest/{focus}"},
    }


PATIENT: Json = {"resourceType": "Patient", "id": "p1", "identifier": [{"system": "urn:his", "value": "P-17"}]}


def specimen(number: str = "s1", tube: str = "00042") -> Json:
    return {"resourceType": "Specimen", "id": number, "accessionIdentifier": {"value": tube}}


@dataclass
class OrderServer:
    """``put`` makes a version. Knobs are plain attributes; ``answers`` are taken, one a request, in place of its own.

    Attributes:
        asked: path and query of each request.
        now: of its clock; None: that of this machine.
        behind: how long after a change a search finds it; ``shown`` says which resources it finds all the same.
    """

    sorts: bool = True
    includes: bool = True
    looks_at_time: bool = True
    looks_at_count: bool = True
    versions: bool = True
    times: bool = True
    page: int | None = None
    next_link: Callable[[str], str] = lambda link: link
    now: datetime | None = None
    hidden: set[str] = field(default_factory=set)
    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    refused: frozenset[str] = frozenset()
    token: str = ""
    asked: list[str] = field(default_factory=list)
    written: list[Json] = field(default_factory=list)
    before_write: Callable[[], None] = lambda: None
    resources: dict[str, Json] = field(default_factory=dict)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/fhir"

    @property
    def clock(self) -> datetime:
        return self.now or datetime.now(UTC)

    def put(self, *given: Json, at: datetime | None = None) -> None:
        for resource in given:
            name = f"{resource['resourceType']}/{resource['id']}"
            before = self.resources.get(name, {}).get("meta", {})
            meta: Json = {"versionId": str(int(before.get("versionId", "0")) + 1)}
            meta["lastUpdated"] = (at or self.clock).isoformat(timespec="milliseconds")
            self.resources[name] = {**resource, "meta": meta}

    def searches(self) -> list[str]:
        return [one for one in self.asked if "_lastUpdated" in one]

    # -- answering -----------------------------------------------------------------------------------------------

    async def handle(self, asked: web.Request) -> web.StreamResponse:
        self.asked.append(asked.path_qs)
        headers = {"Date": format_datetime(self.clock, usegmt=True)} if self.clock.tzinfo is UTC else {}
        if self.token and asked.headers.get("Authorization") != f"Bearer {self.token}":
            return web.Response(status=401)
        if self.answers:
            status, more, body = self.answers.pop(0)
            return web.Response(status=status, headers={**headers, **more}, body=body)
        parts = asked.path.removeprefix("/fhir/").split("/")
        if asked.method == "PUT":
            return await self._write("/".join(parts), asked)
        if len(parts) == 2:
            found = self.resources.get("/".join(parts))
            if found is None:
                return self._json({"resourceType": "OperationOutcome", "issue": []}, 404, headers)
            return self._json(self._shown(found), 200, headers)
        if self.refused & set(asked.query):
            issue = {"severity": "error", "code": "not-supported"}
            return self._json({"resourceType": "OperationOutcome", "issue": [issue]}, 400, headers)
        return self._json(self._search(parts[0], asked), 200, headers)

    async def _write(self, name: str, asked: web.Request) -> web.Response:
        self.before_write()
        there = self.resources.get(name)
        version = there["meta"]["versionId"] if there is not None else ""
        if asked.headers.get("If-Match") != f'W/"{version}"':
            return web.Response(status=412)
        body = await asked.json()
        self.written.append(body)
        self.put(body)
        return self._json(self._shown(self.resources[name]), 200, {})

    def _search(self, kind: str, asked: web.Request) -> Json:
        since = datetime.fromisoformat(asked.query["_lastUpdated"].removeprefix("ge"))
        found = [
            one
            for name, one in self.resources.items()
            if one["resourceType"] == kind
            and name not in self.hidden
            and (not self.looks_at_time or datetime.fromisoformat(one["meta"]["lastUpdated"]) >= since)
        ]
        if self.sorts and "_sort" in asked.query:
            found.sort(key=lambda one: one["meta"]["lastUpdated"])
        size = self.page or (int(asked.query["_count"]) if self.looks_at_count else 10_000)
        start = int(asked.query.get("from", "0"))
        shown = found[start : start + size]
        bundle: Json = {"resourceType": "Bundle", "type": "searchset", "total": len(found), "link": [], "entry": []}
        bundle["entry"] = [{"search": {"mode": "match"}, "resource": self._shown(one)} for one in shown]
        if self.includes:
            wanted = asked.query.getall("_include", []) + asked.query.getall("_include:iterate", [])
            bundle["entry"] += [
                {"search": {"mode": "include"}, "resource": self._shown(one)} for one in self._included(shown, wanted)
            ]
        if start + size < len(found):
            link = str(asked.url.update_query({"from": str(start + size)}))
            bundle["link"].append({"relation": "next", "url": self.next_link(link)})
        return bundle

    def _included(self, shown: list[Json], wanted: list[str]) -> list[Json]:
        names, found = {name.split(":")[1] for name in wanted}, {}
        todo = list(shown)
        while todo:
            one = todo.pop()
            said = [one.get("subject") if names & {"subject", "patient"} else None]
            said += one.get("specimen", []) if "specimen" in names else []
            said += [one.get("focus")] if "focus" in names else []
            for reference in filter(None, said):
                name = reference.get("reference", "")
                if name in self.resources and name not in found:
                    found[name] = self.resources[name]
                    todo.append(self.resources[name])
        return list(found.values())

    def _shown(self, resource: Json) -> Json:
        meta = dict(resource["meta"])
        if not self.versions:
            meta.pop("versionId")
        if not self.times:
            meta.pop("lastUpdated")
        return {**resource, "meta": meta}

    @staticmethod
    def _json(body: Json, status: int, headers: dict[str, str]) -> web.Response:
        return web.Response(
            status=status, headers=headers, body=json.dumps(body).encode(), content_type="application/fhir+json"
        )


@asynccontextmanager
async def order_server(port: int = 0, **knobs: Any) -> AsyncIterator[OrderServer]:
    server = OrderServer(**knobs)
    server.put(PATIENT, specimen())
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    server.port = runner.addresses[0][1]
    try:
        yield server
    finally:
        await runner.cleanup()


async def looked(server: OrderServer, times: int = 2) -> None:
    """Wait until it was searched so many times more, so that all from before is taken."""
    wanted = len(server.searches()) + times
    await until(lambda: len(server.searches()) >= wanted)
