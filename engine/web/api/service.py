"""The routes of the API: each request is limited, understood, read in a thread with a deadline, and answered.

At most `AT_ONCE` requests read the journal, so that the threads which map messages stay free; a few more wait.

A page about the API for people who write programs: every address, its arguments, its answer. It has no scripts.

How often one caller, and one address, may ask: token buckets. Pure: the clock is an argument.

A request costs as much as it makes the daemon work: what is in memory 1, a question to the journal 2, an act 20.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol
from urllib.parse import urlencode

import orjson
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from engine.actions.control import Request
from engine.actions.declaring import Verb
from engine.actions.kept import KeptActs
from engine.actions.verbs import of_api
from engine.feature import Hook
from engine.model.errors import ProblemError
from engine.model.site.permissions import LOOKING, SEEING_PATIENTS, Permission, Principal
from engine.monitoring.snapshot.site import SCHEMA_VERSION
from engine.web.api import problems
from engine.web.api.acts import AGAIN_HEADER, give
from engine.web.api.lists import CONTENTS, EVENTS, QUESTIONS, ROOT, Asked, Document, Resource, Sources, resources
from engine.web.api.parameters import Nothing
from engine.web.api.problems import KINDS
from engine.web.api.requests import CONTENT_TYPE, answer, arguments, body_of, in_address, in_body, require_json_taken
from engine.web.bodies import Body, KeptBodies, prepared
from engine.web.identity import theme_of
from engine.web.page_templates import templates
from engine.web.routes import PRINCIPAL, Route
from engine.web.sender import sender_of

RATE = 400.0  # a second
BURST = 800.0
FROM_MEMORY, FROM_JOURNAL, AN_ACT = 1.0, 2.0, 20.0
MOST_REMEMBERED = 1000  # callers and addresses; the one that asked longest ago is forgotten, which fills its bucket


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


class Buckets:
    """One bucket for each name."""

    def __init__(self, rate: float = RATE, burst: float = BURST) -> None:
        self._rate, self._burst = rate, burst
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, name: str, cost: float, now: float) -> float:
        """Take ``cost`` from the bucket; 0.0, or in how many seconds it has so much (then nothing was taken).

        Args:
            now: monotonic.
        """
        bucket = self._buckets.setdefault(name, _Bucket(self._burst, now))
        self._buckets.move_to_end(name)
        if len(self._buckets) > MOST_REMEMBERED:
            self._buckets.popitem(last=False)
        bucket.left = min(self._burst, bucket.left + (now - bucket.at) * self._rate)
        bucket.at = now
        if bucket.left < cost:
            return (cost - bucket.left) / self._rate
        bucket.left -= cost
        return 0.0

    def __len__(self) -> int:
        return len(self._buckets)


AT_ONCE = 2
MOST_WAITING = 32
WAIT_S = 5.0


class Streams(Protocol):
    """The streams of events of one site."""

    async def serve(self, request: web.Request) -> web.StreamResponse: ...
    def close(self) -> None: ...


STREAMS: Hook[Callable[[Sources], Streams]] = Hook("streams")


class Api:
    """The API of one running site."""

    def __init__(self, sources: Sources, acts: KeptActs | None = None, buckets: Buckets | None = None) -> None:
        self._sources = sources
        self._acts = acts
        self._buckets = Buckets() if buckets is None else buckets
        self._places = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0
        self._streams: Streams | None = None
        self._kept = KeptBodies()
        self._reads: ModuleType | None = None

    def routes(self) -> Sequence[Route]:
        found = [
            self._route(
                one.path,
                partial(self._read, one),
                FROM_MEMORY if one.in_memory else FROM_JOURNAL,
                one.needs,
                method=hdrs.METH_POST if one.of_post else hdrs.METH_GET,
            )
            for one in resources()
        ]
        if self._acts is not None:
            found += self._acting(self._acts)
        return [
            *found,
            self._route(EVENTS, self._events, FROM_JOURNAL, LOOKING, json=False, here="it has no end"),
            self._route("/openapi.json", self._openapi, FROM_MEMORY, LOOKING),
            Route("/api", self._explorer, LOOKING),
        ]

    def _acting(self, acts: KeptActs) -> Iterator[Route]:
        for name in of_api():
            act = partial(self._act, acts, name)
            yield self._route(f"/acts/{name}", act, AN_ACT, acts.verbs[name].needs, method=hdrs.METH_POST)
        yield self._route(CONTENTS, partial(self._reveal, acts), AN_ACT, SEEING_PATIENTS, method=hdrs.METH_POST)
        for one in QUESTIONS:
            verb = acts.verbs[one.verb]
            ask = partial(self._question, one.verb, verb)
            yield self._route(one.path, ask, FROM_JOURNAL, verb.needs, here="it is what an act here says")

    def _route(
        self, path: str, handle: Handler, cost: float, needs: frozenset[Permission], *, json: bool = True, **more: Any
    ) -> Route:
        """A route with a limit, and with a problem as the answer to every error."""

        async def handler(request: web.Request) -> web.StreamResponse:
            try:
                if json:
                    require_json_taken(request)
                return await handle(request)
            except (web.HTTPException, ConnectionResetError):
                raise
            except Exception as error:
                return problems.answer(problems.of_any(error), request)

        return Route(ROOT + path, handler, needs, limit=partial(self._limit, cost), **more)

    def _limit(self, cost: float, request: web.Request) -> web.Response | None:
        """The answer to one who asks too often."""
        now = asyncio.get_running_loop().time()
        for name in (f"caller {request[PRINCIPAL].actor}", f"address {sender_of(request)}"):
            if (wait_s := self._buckets.take(name, cost, now)) > 0:
                error = ProblemError("too-many", "ask less often", retry_after=wait_s)
                return problems.answer(problems.of_any(error), request)
        return None

    async def in_thread(self, work: Callable[[], Body]) -> Body:
        """Read the journal.

        Raises:
            ProblemError: too many others wait, or waited too long.
        """
        if self._waiting >= MOST_WAITING:
            raise ProblemError("unavailable", "too many questions at once", retry_after=1.0)
        self._waiting += 1
        try:
            async with asyncio.timeout(WAIT_S):
                await self._places.acquire()
        except TimeoutError:
            raise ProblemError("unavailable", "too many questions at once", retry_after=1.0) from None
        finally:
            self._waiting -= 1
        try:
            return await asyncio.to_thread(work)
        finally:
            self._places.release()

    async def _read(self, one: Resource, request: web.Request) -> web.Response:
        reads = await self._loaded()
        given = await in_body(request) if one.of_post else in_address(request)
        wanted = reads.arguments_of(one.read, given, body=one.of_post)
        asked = Asked(self._sources, self._sources.present.snapshot(), wanted, request[PRINCIPAL])
        await self._note_look(wanted, request[PRINCIPAL])
        address = "" if one.of_post else request.path

        def make() -> Body:
            return prepared(request, self._body(reads.document_of(one, asked), address, given))

        return answer(request, await (self._from_memory(one, asked, make) if one.in_memory else self.in_thread(make)))

    async def _note_look(self, wanted: Nothing, principal: Principal) -> None:
        """The row of the audit trail about a search for a patient, or a look for a purpose, before it; a search that is
        refused has none."""
        patient, purpose = (getattr(wanted, name, None) for name in ("patient", "purpose"))
        if purpose is not None:
            if self._acts is None:
                raise ProblemError("unavailable", "the look cannot be recorded")
            await self._given("shown", {"message": getattr(wanted, "message", 0), "purpose": purpose}, principal)
        elif patient is not None and principal.may(SEEING_PATIENTS):
            await self._given("searched", {"number": patient}, principal)

    async def _given(self, verb: str, args: dict[str, Any], principal: Principal) -> None:
        if self._acts is not None:
            await self._acts.verbs[verb].work(Request(verb=verb, actor=principal.actor, args=args))

    async def _events(self, request: web.Request) -> web.StreamResponse:
        await self._loaded()
        if self._streams is None:
            (made,) = STREAMS.each()
            self._streams = made(self._sources)
        return await self._streams.serve(request)

    def end_streams(self) -> None:
        """End all streams of events: the server stops."""
        if self._streams is not None:
            self._streams.close()

    async def _openapi(self, request: web.Request) -> web.Response:
        return answer(request, await self.in_thread(lambda: Body(OPENAPI.read_bytes())))

    async def _explorer(self, request: web.Request) -> web.Response:
        return web.Response(text=await asyncio.to_thread(page, theme_of(request)), content_type="text/html")

    async def _act(self, acts: KeptActs, name: str, request: web.Request) -> web.Response:
        answered = await give(acts, name, request)
        kind = CONTENT_TYPE if answered.status < 400 else problems.CONTENT_TYPE
        headers = {AGAIN_HEADER: "true"} if answered.again else {}
        if answered.operation:
            headers[hdrs.LOCATION] = f"{ROOT}/operations/{answered.operation}"
        return web.Response(status=answered.status, body=answered.body, content_type=kind, headers=headers)

    async def _reveal(self, acts: KeptActs, request: web.Request) -> web.Response:
        """The contents of a message. The row of the audit trail comes first; without it nothing is shown."""
        reads = await self._loaded()
        asked = reads.arguments_of(reads.message, in_address(request), body=False)
        purpose = arguments(reads.parameters.Reveal, await in_body(request), body=True).purpose
        journal, number = self._sources.journal, asked.message
        await asyncio.to_thread(reads.require_message, journal, number)
        await self._given("shown", {"message": number, "purpose": purpose}, request[PRINCIPAL])
        return answer(request, await self.in_thread(lambda: self._body(reads.contents(journal, number), "", {})))

    async def _question(self, name: str, verb: Verb, request: web.Request) -> web.Response:
        args = arguments(verb.arguments, in_address(request)).model_dump()
        principal = request[PRINCIPAL]
        asked = Request(verb=name, actor=principal.actor, args=args, reads_notes=principal.reads_notes)
        said = await verb.work(asked)
        return answer(request, self._body(said, "", {}))

    async def _loaded(self) -> ModuleType:
        if self._reads is None:
            self._reads = await asyncio.to_thread(_load)
        return self._reads

    async def _from_memory(self, one: Resource, asked: Asked[Any], make: Callable[[], Body]) -> Body:
        """The document of a snapshot, made once for all who ask and may read as much."""
        return await self._kept.of((one.path, asked.principal.reads_notes), asked.snapshot, make)

    def _body(self, document: Document, address: str, given: Mapping[str, str]) -> Body:
        if "cursor" in document:
            cursor = document["cursor"]
            further = cursor is not None and address
            document["next"] = f"{address}?{urlencode({**given, 'cursor': cursor})}" if further else None
        return body_of({"schema_version": SCHEMA_VERSION, "time_zone": str(self._sources.zone), **document})


def _load() -> ModuleType:
    from engine.web.api import reads

    return reads


OPENAPI = Path(__file__).with_name("openapi.json")
_FOLDER = Path(__file__).with_name("templates")
_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Argument:
    name: str
    place: str
    form: str
    meaning: str
    required: bool


@dataclass(frozen=True, slots=True)
class Operation:
    """
    Attributes:
        answer: the names in it.
        is_plain: it can be asked by its address alone.
    """

    name: str
    method: str
    path: str
    what: str
    needs: str
    arguments: list[Argument]
    answer: list[str]
    is_plain: bool


def page(theme: str = "") -> str:
    """``theme``: as of `theme_of`."""
    document = orjson.loads(OPENAPI.read_bytes())
    problems = [{"name": name, "status": kind.status, "title": kind.title} for name, kind in KINDS.items()]
    operations = list(_operations(document))
    template = templates(_FOLDER).get_template("explorer.html")
    return template.render(root=ROOT, theme=theme, operations=operations, problems=problems)


def _operations(document: Mapping[str, Any]) -> Iterator[Operation]:
    for path, methods in document["paths"].items():
        for method, said in methods.items():
            content = said["responses"]["200"]["content"]
            yield Operation(
                name=said["operationId"],
                method=method.upper(),
                path=path,
                what=said["summary"],
                needs=said["description"],
                arguments=[*_of_address(document, said), *_of_body(document, said)],
                answer=list(_names(document, content[_JSON]["schema"])) if _JSON in content else [],
                is_plain=method == "get" and "{" not in path and _JSON in content,  # a stream has no end
            )


def _of_address(document: Mapping[str, Any], said: Mapping[str, Any]) -> Iterator[Argument]:
    for one in said.get("parameters", ()):
        form = _form(document, one["schema"])
        yield Argument(one["name"], one["in"], form, one.get("description", ""), one.get("required", False))


def _of_body(document: Mapping[str, Any], said: Mapping[str, Any]) -> Iterator[Argument]:
    if "requestBody" in said:
        schema = said["requestBody"]["content"][_JSON]["schema"]
        for name, one in schema.get("properties", {}).items():
            form, meaning = _form(document, one), one.get("description", "")
            yield Argument(name, "body", form, meaning, name in schema.get("required", ()))


def _form(document: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """Type and bounds, in short."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        names = ", ".join(_names(document, schema))
        return f"{name}: {names}" if names else name
    if "enum" in schema:
        return ", ".join(schema["enum"])
    bounds = [f"{word} {schema[name]}" for name, word in (("minimum", "from"), ("maximum", "to")) if name in schema]
    return " ".join([str(schema.get("type", "any")), *bounds])


def _names(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    for part in schema.get("allOf", ()):
        yield from _names(document, part)
    yield from schema.get("properties", {})
