"""The sandbox on HTTP: a FHIR R4 receiver in this process, or behind `labrelay sandbox`.

    POST   /fhir                    transaction or batch
    POST   /fhir/Type               create, conditional with If-None-Exist
    PUT    /fhir/Type/id            update, or create under this id; If-Match
    PUT    /fhir/Type?search        conditional update
    GET    /fhir/Type/id            read; also DELETE
    GET    /fhir/Type/id/_history   versions; /_history/n is one
    GET    /fhir/Type?search        search
    GET    /fhir/metadata           CapabilityStatement
    GET    /                        a page for people
    GET    /$stats                  counters
    GET    /$faults                 faults in force; POST changes them
    POST   /$clear                  forget everything

A request is carried out without an await between its first read and its last write, so requests are serialised and a
transaction is atomic towards everyone.
"""

import asyncio
import base64
import socket
import ssl
import struct
from collections import Counter, deque
from collections.abc import Collection
from pathlib import Path
from typing import Any

import orjson
from aiohttp import hdrs, web
from pydantic import ValidationError

from engine.model.process.clock import Clock, SystemClock
from engine.web.guard import from_another_site, host_allowed, machine_allowed
from workbench.errors import MalformedError, RefusalError
from workbench.sandbox.bundle import Interaction, Interactions, Result, read_request
from workbench.sandbox.documents import capability_statement, history, searchset, summary, where
from workbench.sandbox.exact_json import parse, render
from workbench.sandbox.faults import KEEPING, FaultDrawer, Faults
from workbench.sandbox.outcome import outcome
from workbench.sandbox.store import Store

MAX_BODY_BYTES = 64 * 1024 * 1024
KEYS_REMEMBERED = 200_000
FHIR_JSON = "application/fhir+json"
STATUS_LINES = {200: "200 OK", 201: "201 Created", 204: "204 No Content"}
FOREIGN = "x-foreign"  # the language of resources that another client has changed
LOG_IN_PAGE = "<!doctype html><title>Log in</title><h1>Log in to use this network</h1><form><input name=user></form>"


class Sandbox:
    """An R4 receiver. Start it, use ``url``, stop it; it can be started again and keeps what it has.

    Args:
        host, port: where to listen; port 0 takes a free one.
        folder: keep the data in this folder; None: in memory.
        base: path of the FHIR base address.
        faults: the deliberate faults; may be changed at any time.
        tls: serve https.
        basic, bearer: demand this user and password, or this token.
        seed: makes the faults of ``fail`` the same each time.
        names: more host names that it is asked under, beside loopback; where ``host`` can be reached from other
            machines, addresses and the names of this one are allowed, too.

    Attributes:
        accepted: the delivery keys of accepted writes, in order, repeats included (the last `KEYS_REMEMBERED`).
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        folder: Path | None = None,
        base: str = "/fhir",
        faults: Faults | None = None,
        tls: ssl.SSLContext | None = None,
        basic: tuple[str, str] | None = None,
        bearer: str | None = None,
        seed: int | None = None,
        clock: Clock | None = None,
        names: Collection[str] = (),
    ) -> None:
        self.faults = faults or Faults()
        self.accepted: deque[str] = deque(maxlen=KEYS_REMEMBERED)
        self._host = host
        self._port = port
        own = {host, socket.gethostname()} if not host_allowed(host, ()) else set()
        self._names = frozenset(name.lower() for name in (*own, *names))
        self._allowed = machine_allowed if own else host_allowed
        self._base = "/" + base.strip("/") if base.strip("/") else ""
        self._tls = tls
        self._credentials = _credentials(basic, bearer)
        self._clock = clock or SystemClock()
        self._store = Store(folder)
        self._drawer = FaultDrawer(self.faults, seed)
        self._counts: Counter[str] = Counter()
        self._runner: web.ServerRunner | None = None

    @property
    def url(self) -> str:
        """The FHIR base address; known once started."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http{'s' if self._tls else ''}://{host}:{self._port}{self._base}"

    async def start(self) -> int:
        """Listen, and return the port.

        Raises:
            OSError: the address is taken or not ours.
        """
        runner = web.ServerRunner(
            web.Server(self._answer, request_factory=_request, access_log=None, handler_cancellation=True),
            shutdown_timeout=0.5,
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port, ssl_context=self._tls).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        self._port = runner.addresses[0][1]
        return self._port

    async def pause(self) -> None:
        """Close the port and every connection: the server is gone, its data are not. `start` brings it back."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    async def stop(self) -> None:
        """Close everything; data in memory are gone."""
        await self.pause()
        self._store.close()

    # -- looking at it from the same process ---------------------------------------------------------------------

    def read(self, kind: str, identity: str) -> dict[str, Any] | None:
        """The current version of a resource; numbers as floats."""
        stored = self._store.read(kind, identity)
        return None if stored is None or stored.deleted else orjson.loads(stored.body)

    def read_text(self, kind: str, identity: str) -> bytes | None:
        """The same as its JSON text, each number as it was sent."""
        stored = self._store.read(kind, identity)
        return None if stored is None or stored.deleted else stored.body

    def resources(self, kind: str) -> list[dict[str, Any]]:
        """All current resources of a type, the oldest first."""
        rows = self._store.search(kind, [], newest_first=False, limit=-1, offset=0)
        return [orjson.loads(row.body) for row in rows]

    def count(self, kind: str) -> int:
        return self._store.count(kind, [])

    def deliveries(self) -> dict[str, int]:
        """How often each delivery key was accepted."""
        return self._store.deliveries()

    def stats(self) -> dict[str, Any]:
        """The counters, as ``GET /$stats`` gives them."""
        return {
            "requests": dict(sorted(self._counts.items())),
            "faults": dict(sorted(self._drawer.counts.items())),
            "resources": self._store.totals(),
        }

    # -- HTTP ----------------------------------------------------------------------------------------------------

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if (turned_away := self._outside(request)) is not None:
            self._counts["outside"] += 1
            return turned_away
        if not self._is_fhir(request):
            return await self._own_page(request)
        self._counts["requests"] += 1
        writes = request.method not in ("GET", "HEAD")
        fault = self._drawer.draw(writes=writes)
        if self.faults.latency:
            await asyncio.sleep(self.faults.latency)
        body = await request.read()
        if not fault and writes and self._chokes_on(body):
            fault = "reset"
            self._drawer.counts["choke"] += 1
        if fault and fault not in KEEPING:
            return await self._fail(request, fault)
        try:
            response = self._fhir(request, body)
        except RefusalError as refusal:
            self._counts["refused"] += 1
            response = _json(refusal.status, render(outcome(refusal.code, refusal.text, refusal.place)))
        if fault:
            return await self._fail(request, fault, response)
        return response

    def _outside(self, request: web.BaseRequest) -> web.Response | None:
        """The refusal of what a page of another site may have sent, through a browser on this machine."""
        if not self._allowed(request.headers.get(hdrs.HOST, ""), self._names):
            words = "this server answers under this machine's own names and addresses only; --name gives it another"
            return _json(421, render(outcome("security", words)))
        if request.method not in ("GET", "HEAD") and from_another_site(request.headers):
            return _json(403, render(outcome("security", "a page of another site may not write here")))
        return None

    def _is_fhir(self, request: web.BaseRequest) -> bool:
        if self._base:
            return request.path == self._base or request.path.startswith(self._base + "/")
        return not request.path.startswith("/$") and (request.path != "/" or request.method != "GET")

    def _fhir(self, request: web.BaseRequest, body: bytes) -> web.Response:
        """Carry out a FHIR request.

        Raises:
            RefusalError: with the status to answer.
        """
        if self._credentials and request.headers.get("Authorization") != self._credentials:
            raise RefusalError(401, "login", "log in first")
        method, base = request.method, f"{request.scheme}://{request.host}{self._base}"
        address = request.path[len(self._base) :].strip("/")
        do = Interactions(self._store, base, self._clock.now_us(), blind=self.faults.blind)
        if method in ("GET", "HEAD"):
            self._counts["reads"] += 1
            return self._look(do, address, request, base)
        content: Any = None
        if method in ("POST", "PUT"):
            try:
                content = parse(body)
            except MalformedError as error:
                raise RefusalError(400, "structure", str(error)) from None
        minimal = "return=representation" not in request.headers.get("Prefer", "")
        if not address:
            if method != "POST":
                raise RefusalError(405, "not-supported", "the base address takes POST")
            response = self._bundle(do, content, minimal)
        else:
            query = f"?{request.query_string}" if request.query_string else ""
            interaction = read_request(method, address + query, content, request.headers.get("If-None-Exist"))
            interaction.if_match = request.headers.get("If-Match", "")
            response = self._one(do.single(interaction), minimal)
        self._note_delivery(request)
        return response

    def _bundle(self, do: Interactions, bundle: Any, minimal: bool) -> web.Response:
        if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle":
            raise RefusalError(400, "invalid", "the base address takes a Bundle")
        kind = bundle.get("type")
        if kind == "transaction":
            self._refuse_chosen(bundle)
            self._change_as_somebody_else(do, bundle)
            entries = [self._entry(result, minimal) for result in do.transaction(bundle)]
        elif kind == "batch":
            entries = [
                self._refused_entry(result) if isinstance(result, RefusalError) else self._entry(result, minimal)
                for result in do.batch(bundle)
            ]
        else:
            raise RefusalError(400, "value", "only a transaction or a batch can be posted here", "Bundle.type")
        self._counts["transactions" if kind == "transaction" else "batches"] += 1
        return _json(200, render({"resourceType": "Bundle", "type": f"{kind}-response", "entry": entries}))

    def _chokes_on(self, body: bytes) -> bool:
        """The fault ``choke``."""
        return any(b'"value":"%s"' % value.encode() in body for value in self.faults.choke)

    def _refuse_chosen(self, bundle: dict[str, Any]) -> None:
        """The fault ``refuse``: a transaction that has one of these identifier values."""
        if not self.faults.refuse:
            return
        for position, entry in enumerate(bundle.get("entry", [])):
            resource = entry.get("resource") if isinstance(entry, dict) else None
            identifiers = resource.get("identifier", []) if isinstance(resource, dict) else []
            for identifier in identifiers if isinstance(identifiers, list) else [identifiers]:
                if isinstance(identifier, dict) and identifier.get("value") in self.faults.refuse:
                    self._drawer.counts["refuse"] += 1
                    raise RefusalError(422, "business-rule", "refused on purpose", f"Bundle.entry[{position}].resource")

    def _change_as_somebody_else(self, do: Interactions, bundle: dict[str, Any]) -> None:
        """The fault ``foreign``: resources that are there already get a new version first, in another language."""
        for entry in bundle.get("entry", []):
            request = entry.get("request") if isinstance(entry, dict) else None
            if not self.faults.foreign or not isinstance(request, dict) or request.get("method") != "PUT":
                continue
            kind, _, identity = str(request.get("url", "")).partition("/")
            before = self._store.read(kind, identity) if identity else None
            if before is None or before.deleted:
                continue
            self.faults.foreign -= 1
            self._drawer.counts["foreign"] += 1
            changed = {**parse(before.body), "language": FOREIGN}
            do.single(read_request("PUT", f"{kind}/{identity}", changed))

    def _entry(self, result: Result, minimal: bool) -> dict[str, Any]:
        self._counts[result.did] += 1
        response: dict[str, Any] = {"status": STATUS_LINES[result.status]}
        entry: dict[str, Any] = {"response": response}
        if result.version is not None:
            response |= where(result.version)
            if result.did == "read" or not minimal:
                entry["resource"] = orjson.Fragment(result.version.body)
        elif result.did == "read":
            entry["resource"] = searchset(result.matches, result.total, "")
        return entry

    def _refused_entry(self, refusal: RefusalError) -> dict[str, Any]:
        self._counts["refused"] += 1
        return {
            "response": {"status": str(refusal.status), "outcome": outcome(refusal.code, refusal.text, refusal.place)}
        }

    def _one(self, result: Result, minimal: bool) -> web.Response:
        self._counts[result.did] += 1
        if result.version is None:
            return web.Response(status=result.status)
        body = b"" if minimal and result.did != "read" else result.version.body
        response = _json(result.status, body)
        response.headers["ETag"] = f'W/"{result.version.version}"'
        if result.did != "read":
            path = f"/{result.version.type}/{result.version.id}/_history/{result.version.version}"
            response.headers["Location"] = self.url + path
        return response

    def _look(self, do: Interactions, address: str, request: web.BaseRequest, base: str) -> web.Response:
        """GET: metadata, a resource, its history, a search."""
        if address in ("", "metadata"):
            return _json(200, render(capability_statement(base, self._clock.now_us())))
        parts = address.split("/")
        if len(parts) == 3 and parts[2] == "_history":
            versions = self._store.history(parts[0], parts[1])
            if not versions:
                raise RefusalError(404, "not-found", "no such resource")
            return _json(200, render(history(versions)))
        query = f"?{request.query_string}" if request.query_string else ""
        interaction: Interaction = read_request("GET", address + query, None)
        result = do.single(interaction)
        if interaction.query is None:
            return self._one(result, minimal=False)
        search, following = interaction.query, ""
        if not search.only_total and search.offset + len(result.matches) < result.total and search.count:
            pairs = [(name, value) for name, value in request.query.items() if name != "_offset"]
            following = str(request.url.with_query([*pairs, ("_offset", str(search.offset + search.count))]))
        return _json(200, render(searchset(result.matches, result.total, following, result.included)))

    def _note_delivery(self, request: web.BaseRequest) -> None:
        key = request.headers.get("Idempotency-Key")
        if key:
            self.accepted.append(key)
            if self._store.count_delivery(key) > 1:
                self._counts["repeats"] += 1

    async def _fail(self, request: web.BaseRequest, fault: str, kept: web.Response | None = None) -> web.StreamResponse:
        transport = request.transport
        if fault.isdigit():
            response = _json(int(fault), render(outcome("transient", "a fault of the sandbox, on purpose")))
            if self.faults.retry_after is not None and fault in ("429", "503"):
                response.headers["Retry-After"] = str(self.faults.retry_after)
            return response
        if fault == "html":
            return web.Response(text=LOG_IN_PAGE, content_type="text/html")
        if fault == "hang":
            await asyncio.Event().wait()
        elif fault == "cut" and transport is not None:
            assert kept is not None
            content = kept.body if isinstance(kept.body, bytes) else b""
            transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/fhir+json\r\nContent-Length: %d\r\n\r\n" % len(content)
            )
            transport.write(content[: len(content) // 2])
            transport.close()
        elif transport is not None:
            raw = transport.get_extra_info("socket")
            if raw is not None:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        return web.Response(status=500)  # goes nowhere: the connection is closed

    # -- its own pages ------------------------------------------------------------------------------------------

    async def _own_page(self, request: web.BaseRequest) -> web.Response:
        match request.method, request.path:
            case "GET", "/":
                return web.Response(text=summary(self.url, self.stats(), self.faults), content_type="text/html")
            case "GET", "/$stats":
                return _json(200, orjson.dumps(self.stats()), "application/json")
            case "GET", "/$faults":
                return _json(200, self.faults.model_dump_json().encode(), "application/json")
            case "POST", "/$faults" | "/$clear" if request.content_type != "application/json":
                # A page in a browser cannot send this type to another site without asking first.
                return web.Response(status=415, text="send application/json\n")
            case "POST", "/$faults":
                try:
                    self.faults.change(Faults.model_validate_json(await request.read()))
                except ValidationError as error:
                    problems = [f"{'.'.join(map(str, e['loc'])) or 'body'}: {e['msg']}" for e in error.errors()]
                    return web.Response(status=400, text="\n".join(problems) + "\n")
                return _json(200, self.faults.model_dump_json().encode(), "application/json")
            case "POST", "/$clear":
                self._store.clear()
                self.accepted.clear()
                self._counts.clear()
                self._drawer.counts.clear()
                return web.Response(status=204)
        return web.Response(status=404, text=f"The FHIR base address is {self.url}\n")


def _request(message: Any, payload: Any, protocol: Any, writer: Any, task: "asyncio.Task[None]") -> web.BaseRequest:
    return web.BaseRequest(
        message, payload, protocol, writer, task, asyncio.get_running_loop(), client_max_size=MAX_BODY_BYTES
    )


def _json(status: int, body: bytes, media_type: str = FHIR_JSON) -> web.Response:
    return web.Response(status=status, body=body, content_type=media_type)


def _credentials(basic: tuple[str, str] | None, bearer: str | None) -> str:
    """The Authorization header that is demanded; empty for none."""
    if basic is not None:
        return "Basic " + base64.b64encode(":".join(basic).encode()).decode("ascii")
    return f"Bearer {bearer}" if bearer else ""
