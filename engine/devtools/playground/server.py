"""The server of `labrelay try`: one page, on loopback, for users who have its address.

    GET  /TOKEN/                the page              POST /TOKEN/run.json      a trial
    GET  /TOKEN/start.json      what it begins with   POST /TOKEN/save.json     a file of the mapping
    GET  /TOKEN/files.json      files of a mapping    GET  /TOKEN/sample.json   messages of a file
    GET  /TOKEN/static/...      style and script

The message is a patient's: it is shown to the browser that pasted it, and neither stored nor logged. So the address has
a token that cannot be guessed, requests are answered under this machine's own names only, and a request that changes or
runs anything must come from the page itself (`Origin`, a JSON body). Nothing is fetched from elsewhere.
"""

import asyncio
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from engine.devtools.errors import ChildError, SavingError
from engine.devtools.playground.child import Child
from engine.devtools.playground.files import Folders
from engine.devtools.playground.samples import Samples
from engine.devtools.playground.trial import MAX_MESSAGE_BYTES
from engine.web.guard import add_headers, host_allowed, require_loopback
from engine.web.page_templates import templates
from engine.web.render import STATIC as PAGE_STATIC

MAX_BODY = 6 * 1024 * 1024  # a message and the edited files of its mapping, as JSON
STOP_TIMEOUT_S = 1.0
_HERE = Path(__file__).parent
_STATIC = {
    "page.css": (PAGE_STATIC / "page.css", "text/css; charset=utf-8"),
    "icon.svg": (PAGE_STATIC / "icon.svg", "image/svg+xml"),
    "try.css": (_HERE / "static" / "try.css", "text/css; charset=utf-8"),
    "try.js": (_HERE / "static" / "try.js", "text/javascript; charset=utf-8"),
}

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Start:
    """The initial state of the page.

    Attributes:
        mapping: its name or the name of its file; empty: the one of the channel, or of the message's kind.
        channel: the channel it runs as; empty for none.
        setting: the settings of the child, as they are sent to it.
        message: the bytes of the file that was named.
    """

    mapping: str = ""
    channel: str = ""
    setting: Mapping[str, Any] | None = None
    message: bytes = b""


class TryServer:
    """Serves the page until it is stopped.

    Args:
        listen: host and port; the host must be a loopback address.
        scratch: a folder for edited files while they are tried.
    """

    def __init__(
        self, listen: tuple[str, int], child: Child, folders: Folders, samples: Samples, start: Start, scratch: Path
    ) -> None:
        require_loopback(listen[0], "--listen", "this page")
        self._listen = listen
        self._child = child
        self._folders = folders
        self._samples = samples
        self._start = start
        self._scratch = scratch
        self._token = secrets.token_urlsafe(24)
        self._newest: dict[str, int] = {}
        title = f"{start.channel or start.mapping or 'message'} · labrelay try"
        self._page = templates(_HERE / "templates").get_template("try.html").render(title=title)
        app = web.Application(client_max_size=MAX_BODY, middlewares=[self._wall])
        for method, path, handler in (
            ("GET", "", self._html),
            ("GET", "start.json", self._begin),
            ("GET", "files.json", self._files),
            ("GET", "sample.json", self._sample),
            ("GET", "static/{name}", self._static),
            ("POST", "run.json", self._run),
            ("POST", "save.json", self._save),
        ):
            app.router.add_route(method, f"/{{token}}/{path}", handler)
        app.on_response_prepare.append(add_headers)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=STOP_TIMEOUT_S)
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the address is taken.
        """
        await self._runner.setup()
        assert self._runner.server is not None
        self._server = await asyncio.get_running_loop().create_server(self._runner.server, *self._listen)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        await self._child.close()
        await self._runner.cleanup()

    @property
    def address(self) -> str:
        """The page's address, with its token."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/{self._token}/"

    # -- who may ask -----------------------------------------------------------------------------------------------

    @web.middleware
    async def _wall(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not host_allowed(request.headers.get(hdrs.HOST, ""), ()):
            return _refused(421, "this page answers only under this computer's own names, such as localhost")
        token = request.path.split("/")[1]
        if not hmac.compare_digest(token.encode("utf-8", "replace"), self._token.encode()):
            return _refused(404, "there is no such page; labrelay try prints its address")
        if request.method == "POST" and not _from_the_page(request):
            return _refused(403, "only the page itself may ask for this")
        try:
            return await handler(request)
        except web.HTTPException as error:
            return _refused(error.status, _WORDS.get(error.status, "this request cannot be understood"))
        except ConnectionResetError:
            raise
        except Exception as error:  # its own words may quote the message
            return _refused(500, f"a fault inside LabRelay: {type(error).__name__}")

    # -- what it says ----------------------------------------------------------------------------------------------

    async def _html(self, _request: web.Request) -> web.Response:
        return web.Response(text=self._page, content_type="text/html")

    async def _static(self, request: web.Request) -> web.Response:
        found = _STATIC.get(request.match_info["name"])
        if found is None:
            raise web.HTTPNotFound
        path, kind = found
        return web.Response(body=path.read_bytes(), headers={hdrs.CONTENT_TYPE: kind, hdrs.CACHE_CONTROL: "no-cache"})

    async def _begin(self, _request: web.Request) -> web.Response:
        messages = await self._messages(self._start.message) if self._start.message else {"messages": []}
        mappings = await asyncio.to_thread(self._folders.mappings)
        if self._start.mapping and self._start.mapping not in mappings:
            mappings.insert(0, self._start.mapping)
        return _json(
            {
                "mapping": self._start.mapping,
                "mappings": mappings,
                "channel": self._start.channel,
                "samples": await asyncio.to_thread(self._samples.names),
                **messages,
            }
        )

    async def _files(self, request: web.Request) -> web.Response:
        """The files of a mapping, or those that are named."""
        names = request.query.getall("name", [])
        if mapping := request.query.get("mapping", ""):
            found = await asyncio.to_thread(self._folders.of_mapping, mapping)
        else:
            opened = [await asyncio.to_thread(self._folders.open, name) for name in names[:64]]
            found = [file for file in opened if file is not None]
        return _json({"files": [asdict(file) for file in found]})

    async def _sample(self, request: web.Request) -> web.Response:
        data = await asyncio.to_thread(self._samples.read, request.query.get("name", ""))
        if data is None:
            raise web.HTTPNotFound
        return _json(await self._messages(data))

    async def _messages(self, data: bytes) -> Json:
        return await self._asked({"data": data.hex()})

    async def _run(self, request: web.Request) -> web.Response:
        asked = await _body(request, {"page": str, "number": int, "mapping": str, "texts": dict, "message": str})
        if len(asked["message"]) > MAX_MESSAGE_BYTES:
            raise web.HTTPRequestEntityTooLarge(max_size=MAX_MESSAGE_BYTES, actual_size=len(asked["message"]))
        page, number = asked["page"][:64], asked["number"]
        if len(self._newest) > 64:
            self._newest.clear()
        self._newest[page] = max(number, self._newest.get(page, 0))
        made = await self._asked(
            {
                "mapping": asked["mapping"],
                "texts": {str(name): str(text) for name, text in asked["texts"].items()},
                "message": asked["message"],
                "charset": str(asked.get("charset", "utf-8")),
            },
            page,
            number,
        )
        return _json({"number": number, **made})

    async def _asked(self, request: Json, page: str = "", number: int = 0) -> Json:
        """The child's answer. A trial that a newer one of its page has overtaken while it waited is not run."""
        full = {"setting": dict(self._start.setting or {}), "scratch": str(self._scratch), **request}
        try:
            return await self._child.ask(full, wanted=lambda: number >= self._newest.get(page, 0))
        except ChildError as error:
            return {"messages": [], "trouble": str(error)}

    async def _save(self, request: web.Request) -> web.Response:
        asked = await _body(request, {"name": str, "text": str, "digest": str})
        try:
            saved = await asyncio.to_thread(self._folders.save, asked["name"], asked["text"], asked["digest"])
        except SavingError as error:
            return _refused(409, str(error))
        return _json({"file": asdict(saved)})


_WORDS = {
    404: "there is no such thing here",
    405: "this cannot be asked in this way",
    413: f"too large: a message of at most {MAX_MESSAGE_BYTES} bytes can be tried",
}


def _from_the_page(request: web.Request) -> bool:
    """Whether a request that does something comes from our own page: a form or script elsewhere cannot fake both."""
    origin = urlsplit(request.headers.get(hdrs.ORIGIN, ""))
    own = origin.scheme == "http" and origin.netloc.lower() == request.headers.get(hdrs.HOST, "").lower()
    site = request.headers.get("Sec-Fetch-Site", "same-origin")
    return own and site == "same-origin" and request.content_type == "application/json"


async def _body(request: web.Request, wanted: Mapping[str, type]) -> Json:
    try:
        body = orjson.loads(await request.read())
    except orjson.JSONDecodeError as error:
        raise web.HTTPBadRequest from error
    if not isinstance(body, dict) or not all(isinstance(body.get(name), kind) for name, kind in wanted.items()):
        raise web.HTTPBadRequest
    return body


def _json(value: Json) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type="application/json")


def _refused(status: int, words: str) -> web.Response:
    return web.Response(status=status, body=orjson.dumps({"error": words}), content_type="application/json")
