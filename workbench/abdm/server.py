"""The simulator on HTTP: in this process, or behind `labrelay abdm sandbox`.

    /api/hiecm/...                 the gateway and the consent manager, for a laboratory's program
    POST /reader/push              the reader of records
    POST /sms                      an SMS that the laboratory sends; its body is shown by GET /sms
    POST /app/ACT                  what the patient and the reader do: discover, init, confirm, share, grant, revoke,
                                   expire, pull, status, people (`workbench.abdm.app`)
    GET  /app/ADDRESS              what arrived for a person; /app/people: all of them
    GET  /discoveries/ID /consents/ID /transfers/ID
    GET  /violations /pending      faults of the laboratory's program; callbacks that it has not answered
    GET  /calls /callbacks /stats  what came and what was sent
    GET  /faults                   faults in force; POST changes them
    POST /bridge                   as another program with the same account: takes the callbacks away
    POST /end-sessions             each session token has ended
    POST /clear                    forget all, but people, bridge and sessions

A call is carried out without an await between its check and its effect, so calls are atomic towards each other.
"""

import asyncio
import json
import socket
import struct
from collections.abc import Callable
from email.utils import format_datetime
from typing import Any

import orjson
from aiohttp import hdrs, web
from pydantic import BaseModel, ConfigDict, ValidationError

from engine.model.process.clock import Clock
from engine.web.guard import from_another_site, host_allowed
from workbench.abdm.app import App
from workbench.abdm.callbacks import Callback, Callbacks, may_be_called
from workbench.abdm.calls import MISSING, UNKNOWN, Gate, Heard
from workbench.abdm.effects import Effects
from workbench.abdm.faults import CODE, Drawer, Faults
from workbench.abdm.people import Person
from workbench.abdm.reader import PATH, Reader
from workbench.abdm.signing import Signer
from workbench.abdm.state import TOKEN_CODES, Settings, State
from workbench.errors import GatewayRefusalError

MAX_BODY_BYTES = 32 * 1024 * 1024  # of a page
MAX_CALL_BYTES = 1024 * 1024
MAX_SMS_BYTES = 4096
SESSION_TAKES_S = 0.05  # long enough for another one that comes meanwhile to be seen
PREFIX = "/api/"
HTML = "<!doctype html><title>Proxy</title><h1>Service temporarily unavailable</h1>"
ON_PURPOSE = "a fault of the simulator, on purpose"


class Bridge(BaseModel):
    model_config = ConfigDict(extra="forbid")

    url: str


class AbdmSandbox:
    """Start it, use ``url``, stop it.

    Args:
        port: of 127.0.0.1; 0 takes a free one.
        faults: the deliberate faults; may be changed at any time.

    Attributes:
        app: what the patient and the reader do.
        state: what the simulator knows.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        settings: Settings | None = None,
        faults: Faults | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.faults = faults or Faults()
        self.state = State(settings or Settings(), clock)
        self._port = port
        self._drawer = Drawer(self.faults)
        self._signer = Signer(self.state.settings.client)
        self._gate = Gate(self.state, self._signer)
        self._callbacks = Callbacks(self.state, self._signer, self._drawer)
        self._reader = Reader(self.state, self._gate)
        self._effects = Effects(self.state, self._signer, self._gate, self.faults)
        self._effects.pull = self._pull_by_itself
        self.app = App(self.state, self._signer, self._reader, self._send)
        self._sessions_made = 0
        self._runner: web.ServerRunner | None = None

    @property
    def url(self) -> str:
        """Known once started."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def violations(self) -> list[dict[str, Any]]:
        """As ``GET /violations`` gives them."""
        return self.state.noted()

    async def start(self) -> int:
        """Listen on 127.0.0.1, and return the port.

        Raises:
            OSError: the port is taken.
        """
        server = web.Server(self._dated_answer, request_factory=_request, access_log=None, handler_cancellation=True)
        runner = web.ServerRunner(server, shutdown_timeout=0.5)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", self._port).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        self._port = runner.addresses[0][1]
        self.state.base = self.url
        self._callbacks.open()
        return self._port

    async def stop(self) -> None:
        """Close everything; what it has is gone."""
        await self._callbacks.close()
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    def end_sessions(self) -> None:
        """As a gateway that has forgotten its tokens."""
        self._gate.end_sessions()

    def new_key_of_consents(self) -> None:
        """As a consent manager that changes its key: consents are signed by a new one, and callbacks are not yet."""
        self._signer.new_key_of_consents()

    def _send(self, callback: Callback) -> None:
        self._callbacks.raise_if_full()
        self._callbacks.start(callback, self._callbacks.draw(callback))

    def _pull_by_itself(self, person: Person, facility: str, reference: str) -> None:
        after_s = self.state.settings.pull_after_s
        if after_s is not None:
            self._callbacks.later(self.app.pull_by_itself(person, facility, reference, after_s))

    # -- HTTP ------------------------------------------------------------------------------------------------------

    def _dated(self, response: web.StreamResponse) -> web.StreamResponse:
        """With the time of our clock, by which a laboratory's program corrects its own."""
        if not response.prepared:
            response.headers[hdrs.DATE] = format_datetime(self.state.now(), usegmt=True)
        return response

    async def _dated_answer(self, request: web.BaseRequest) -> web.StreamResponse:
        return self._dated(await self._answer(request))

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        own = not request.path.startswith((PREFIX, PATH, "/gateway/"))
        if own and not host_allowed(request.headers.get(hdrs.HOST, ""), ()):
            return _json(421, {"error": "this server answers under names of this machine only"})
        if own and request.method != "GET" and from_another_site(request.headers):
            return _json(403, {"error": "a page of another site may not write here"})
        if request.path == PATH and request.method == "POST":
            return await self._page(request)
        if request.path.startswith((PREFIX, "/gateway/")):
            return await self._call(request)
        try:
            return await self._own(request)
        except GatewayRefusalError as refusal:
            return _json(refusal.status, _error(refusal))
        except (ValidationError, orjson.JSONDecodeError) as error:
            return _json(400, {"error": str(error)})

    async def _call(self, request: web.BaseRequest) -> web.StreamResponse:
        state = self.state
        body = await request.read()
        try:
            call = self._gate.find(request.method, request.path)
            if len(body) > MAX_CALL_BYTES:
                raise GatewayRefusalError("413", "Payload Too Large", status=413, rule="body-size")
        except GatewayRefusalError as refusal:
            state.violated(refusal.rule, request.path, refusal.detail, request.headers.get("REQUEST-ID", ""))
            return self._refused(request, refusal, request.path)
        if call.name == "session":
            return await self._session(request, body)
        return await self._looked_at(request, self._gate.look(call, request.path, request.headers, body))

    async def _session(self, request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        """One renewal at a time: another one that comes meanwhile is a violation."""
        if self._sessions_made:
            self.state.violated("session-twice-at-once", "session", request_id=request.headers.get("REQUEST-ID", ""))
        self._sessions_made += 1
        try:
            await asyncio.sleep(SESSION_TAKES_S)
            call = self._gate.find(request.method, request.path)
            return await self._looked_at(request, self._gate.look(call, request.path, request.headers, body))
        finally:
            self._sessions_made -= 1

    async def _looked_at(self, request: web.BaseRequest, heard: Heard) -> web.StreamResponse:
        fault = self._drawer.answer(heard.call.name)
        if fault and fault != "lost":
            if fault.partition(" ")[0] in TOKEN_CODES and heard.call.name == "link" and heard.said is not None:
                self.state.drop_token(heard.facility, heard.said.abha_address.lower())
            return await self._fail(request, fault, heard.call.name)
        if heard.refusal is not None:
            return self._refused(request, heard.refusal, heard.call.name)
        try:
            self._callbacks.raise_if_full()
            outcome = self._effects.carry_out(heard)
        except GatewayRefusalError as refusal:
            if refusal.rule:
                detail = refusal.detail or refusal.message
                self.state.violated(refusal.rule, heard.call.name, detail, heard.request_id)
            return self._refused(request, refusal, heard.call.name)
        callback, kind = outcome.callback, ""
        if callback is not None:
            kind = self._callbacks.draw(callback)
        if not CODE.fullmatch(kind):
            for act in outcome.then:
                act()
        if callback is not None and kind == "early":
            await self._callbacks.before_the_answer(callback)
        status = outcome.status or heard.call.status
        response: web.StreamResponse
        if fault == "lost":
            self._effects.unsure(heard)
            response = await self._fail(request, fault, heard.call.name)
        else:
            self._log(request, heard.call.name, status)
            response = web.Response(status=status) if outcome.body is None else _json(status, outcome.body)
            await self._dated(response).prepare(request)
            await response.write_eof()
        if callback is not None and kind != "early":
            self._callbacks.start(callback, kind)
        return response

    def _refused(self, request: web.BaseRequest, refusal: GatewayRefusalError, name: str) -> web.Response:
        self._log(request, name, refusal.status)
        if not refusal.code:
            return web.Response(status=refusal.status)
        return _json(refusal.status, _error(refusal))

    async def _page(self, request: web.BaseRequest) -> web.StreamResponse:
        began = self.state.now()
        body = await request.read()
        if self.faults.reader == "slow":
            await asyncio.sleep(self.faults.slow_s)
        fault = self._drawer.push()
        if fault and fault != "lost":
            return await self._fail(request, fault, "push")
        status = self._reader.receive(request.headers, body, began, is_heard=fault != "lost")
        if fault == "lost":
            return await self._fail(request, fault, "push")
        self._log(request, "push", status)
        return web.Response(status=status)

    async def _fail(self, request: web.BaseRequest, fault: str, name: str) -> web.StreamResponse:
        self._log(request, name, fault)
        if fault == "hang":
            await asyncio.Event().wait()
        if fault in ("lost", "reset"):
            _reset(request)
            return web.Response(status=500)  # goes nowhere: the connection is closed
        if fault == "empty":
            return web.Response(status=400)
        if fault in ("html", "html-502"):
            return web.Response(text=HTML, content_type="text/html", status=502 if "-" in fault else 200)
        if fault == "text":
            return web.Response(text="Access Denied", status=403)
        if (found := CODE.fullmatch(fault)) is not None:
            return _json(400, {"error": {"code": found[1], "message": found[2] or ON_PURPOSE}})
        if fault in _SHAPES:
            return _json(400, _SHAPES[fault](self.state.now().isoformat()))
        if fault == "401":
            return _json(401, _error(GatewayRefusalError(UNKNOWN, "Invalid Credentials")))
        status, _, after = fault.partition("-")
        code = "ABDM-2429" if status == "429" else "ABDM-9999"
        response = _json(int(status), {"error": {"code": code, "message": ON_PURPOSE}})
        if after:
            response.headers[hdrs.RETRY_AFTER] = str(self.faults.retry_after_s)
        return response

    def _log(self, request: web.BaseRequest, name: str, outcome: int | str) -> None:
        self.state.counts[f"call {name}"] += 1
        said = {"call": name, "requestId": request.headers.get("REQUEST-ID", ""), "outcome": outcome}
        self.state.calls.append(said)

    # -- for tests and people --------------------------------------------------------------------------------------

    async def _own(self, request: web.BaseRequest) -> web.Response:
        if request.method == "GET":
            return self._shown(request.path)
        if request.method != "POST":
            return _json(405, {"error": "GET or POST"})
        body = await request.read()
        if request.path == "/sms":
            return self._text(body)
        if request.content_type != "application/json":
            # A page in a browser cannot send this type to another site without asking first.
            return _json(415, {"error": "send application/json"})
        if request.path.startswith("/app/"):
            model, act = self.app.acts.get(request.path.removeprefix("/app/"), (None, None))
            if model is None or act is None:
                return _json(404, {"error": f"no such act; there are {', '.join(self.app.acts)}"})
            return _json(200, act(model.model_validate_json(body)))
        match request.path:
            case "/faults":
                self.faults.change(Faults.model_validate_json(body))
                return _json(200, self.faults.model_dump())
            case "/bridge":
                url = Bridge.model_validate_json(body).url
                if not may_be_called(url, self.state.settings.hosts):
                    raise GatewayRefusalError("ABDM-1006", "the simulator calls this machine alone")
                self.state.bridge_url = url
                return _json(200, {"url": url})
            case "/end-sessions":
                self.end_sessions()
                return web.Response(status=204)
            case "/clear":
                self.state.reset()
                return web.Response(status=204)
        return _json(404, {"error": "no such address"})

    def _text(self, body: bytes) -> web.Response:
        if len(body) > MAX_SMS_BYTES:
            return _json(413, {"error": f"more than {MAX_SMS_BYTES} bytes"})
        self.state.texts.append({"text": body.decode("utf-8", "replace")})
        return web.Response(status=202)

    def _shown(self, path: str) -> web.Response:
        state = self.state
        lists: dict[str, Callable[[], Any]] = {
            "/violations": state.noted,
            "/pending": state.pending,
            "/calls": lambda: list(state.calls),
            "/callbacks": lambda: list(state.sent),
            "/stats": lambda: {"counts": dict(state.counts), "faults": dict(self._drawer.counts)},
            "/faults": self.faults.model_dump,
            "/sms": lambda: list(state.texts),
            "/app/people": lambda: [one.as_json() for one in state.people.values()],
        }
        if (show := lists.get(path)) is not None:
            return _json(200, show())
        folder, _, name = path.lstrip("/").partition("/")
        one: dict[str, Callable[[str], Any]] = {
            "app": self.app.shown,
            "discoveries": self.app.discovery_shown,
            "consents": self.app.consent_shown,
            "transfers": self.app.transfer_shown,
        }
        if name and folder in one:
            return _json(200, one[folder](name))
        return _json(404 if name or folder else 200, {"addresses": [*lists, *(f"/{each}/ID" for each in one)]})


# A fault in each form in which the gateway writes errors, but for text.
_SHAPES: dict[str, Callable[[str], Any]] = {
    "object": lambda at: {"error": {"code": "ABDM-1024: ", "message": ON_PURPOSE}},
    "list": lambda at: [{"error": {"code": "ABDM-1006", "message": ON_PURPOSE}}, {"code": "ABDM-1010", "message": "b"}],
    "flat": lambda at: {"code": "ABDM-1010", "message": ON_PURPOSE, "description": "of a form"},
    "message": lambda at: {"message": ON_PURPOSE, "timestamp": at},
    "fields": lambda at: {"abhaAddress": "must not be blank", "timestamp": at},
}


def _error(refusal: GatewayRefusalError) -> dict[str, Any]:
    """As the gateway writes it: flat of a log-in, an object else."""
    if refusal.code in (UNKNOWN, MISSING):
        words = "Make sure you have provided the correct security credentials"
        return {"code": refusal.code, "message": refusal.message, "description": words}
    return {"error": {"code": refusal.code, "message": refusal.message}}


def _json(status: int, said: Any) -> web.Response:
    return web.Response(status=status, body=json.dumps(said, default=str).encode(), content_type="application/json")


def _reset(request: web.BaseRequest) -> None:
    transport = request.transport
    if transport is None:
        return
    raw = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _request(message: Any, payload: Any, protocol: Any, writer: Any, task: "asyncio.Task[None]") -> web.BaseRequest:
    return web.BaseRequest(
        message, payload, protocol, writer, task, asyncio.get_running_loop(), client_max_size=MAX_BODY_BYTES
    )
