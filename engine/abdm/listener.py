"""The listener for callbacks of ABDM's gateway: who sent it, is it for a facility of ours, and is it durable.

    the address       may it send callbacks; behind a relay the address is the one that the relay names
    the path          one that a flow takes; the health path answers to anyone
    the token         of the gateway itself (`engine.access.gateway`); its keys are fetched anew once for an unknown one
    the body          not longer than it may be, a JSON object
    committed         then 202; where the journal cannot keep it 503, and the gateway comes again

Nothing is done about a callback here. A body is read only of a sender who has proven who it is.
"""

import asyncio
import logging
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from ipaddress import ip_address, ip_network
from types import ModuleType
from typing import Any, Protocol

import orjson
from aiohttp import hdrs, web

from engine.config.destination_abdm import AbdmDestination
from engine.model.clock import Clock
from engine.model.errors import CallbackError, GatewayDownError, StoreError, UnknownGatewayKeyError
from engine.store.journal import Journal
from engine.store.operations.abdm import callbacks
from engine.web.listener import Listener

PATIENCE_S = 10.0
BODY_S = 30.0  # the longest time for a body
LINGER_S = 2.0  # for so long the rest of a refused body is read, so that its sender sees the answer
STOP_S = 2.0
RETRY_AFTER_S = 30
MAX_LINE = 20 * 1024  # a header has a token of up to 16 KiB
_REQUEST_ID = re.compile(r"[0-9A-Za-z._:-]{1,100}")
_OLD = re.compile(r"/v0\.5/|/v1\.0/")
STATUS = {"facility": 403, "address": 403, "path": 404, "old-interface": 404, "method": 405, "length": 413}
WORDS = {401: "not proven", 403: "refused", 404: "not found", 405: "POST", 413: "too large"}

logger = logging.getLogger("labrelay.abdm")


class Keys(Protocol):
    """As `adapters.clients.abdm.gateway.Gateway`."""

    async def keys(self, *, known: int = -1) -> tuple[Sequence[Mapping[str, Any]], int]: ...


class CallbackListener:
    """Of one site.

    Args:
        paths: of callbacks that are taken, without ``/api``.
        stored: called once a callback is durable.

    Attributes:
        counts: callbacks by what became of them: ``taken``, ``repeat``, or why not. None of its words is the sender's.
        last_us: when the last one was taken; 0: none since the start.
    """

    def __init__(
        self,
        ours: AbdmDestination,
        gateway: Keys,
        journal: Journal,
        clock: Clock,
        paths: Collection[str],
        stored: Callable[[], None],
    ) -> None:
        self._ours, self._config = ours, ours.callbacks
        self._gateway = gateway
        self._journal = journal
        self._clock = clock
        self._paths = paths
        self._stored = stored
        self._relays = [ip_network(one) for one in self._config.relays]
        self._allowed = [ip_network(one) for one in self._config.allow]
        self._listener = Listener(_Door(self._config), most=self._config.max_connections, patience_s=PATIENCE_S)
        self._server: web.Server | None = None
        self._proof: ModuleType
        self.counts: Counter[str] = Counter()
        self.last_us = 0
        self.port = 0

    async def start(self) -> int:
        """Listen, and return the port.

        Raises:
            OSError, ValueError: the address is taken or not ours; the certificate cannot be used.
        """
        from engine.access import gateway

        self._proof = gateway
        self._server = web.Server(
            self._answer,
            access_log=None,
            keepalive_timeout=75.0,
            lingering_time=LINGER_S,
            max_line_size=MAX_LINE,
            max_field_size=MAX_LINE,
            auto_decompress=False,
        )
        self.port = await self._listener.open(self._server, self._config.listen)
        return self.port

    async def stop(self) -> None:
        self._listener.stop()
        if self._server is not None:
            await self._server.shutdown(STOP_S)

    # -- one request -----------------------------------------------------------------------------------------------

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self._listener.heard(request.protocol)
        if request.path == self._config.path + self._config.health and request.method in (
            hdrs.METH_GET,
            hdrs.METH_HEAD,
        ):
            return web.Response(text="ok\n")
        try:
            return await self._take(request)
        except CallbackError as error:
            return self._refused(error.reason)
        except GatewayDownError as error:
            self.counts["no-keys"] += 1
            logger.error("callbacks of ABDM cannot be checked", extra={"detail": str(error)})
        except StoreError as error:
            self.counts["not-stored"] += 1
            logger.error("a callback of ABDM could not be kept", extra={"detail": str(error)})
        return web.Response(status=503, headers={hdrs.RETRY_AFTER: str(RETRY_AFTER_S)})

    async def _take(self, request: web.BaseRequest) -> web.StreamResponse:
        """
        Raises:
            CallbackError: it is refused.
            GatewayDownError: it cannot be checked.
            StoreError: it cannot be kept.
        """
        self._look_at_address(request)
        path = self._path(request)
        if (request.content_length or 0) > self._config.max_body:
            raise CallbackError("length")
        request_id = request.headers.get("REQUEST-ID", "").strip()
        proven = await self._prove(request.headers)
        if not _REQUEST_ID.fullmatch(request_id):
            return self._unusable("request-id")
        body = await self._body(request)
        if body is None:
            return self._unusable("broken-body")
        if not _is_object(body):
            return self._unusable("not-json")
        new = await self._journal.run(
            callbacks.store, path, proven.facility, request_id, body, min(round(proven.late_s), 1 << 31)
        )
        self.counts["taken" if new else "repeat"] += 1
        self.last_us = self._clock.now_us()
        if new:
            self._stored()
        return web.Response(status=202)

    def _look_at_address(self, request: web.BaseRequest) -> None:
        """
        Raises:
            CallbackError: this address may not send.
        """
        if not self._allowed:
            return
        peer = request.transport.get_extra_info("peername") if request.transport is not None else None
        sender = str(peer[0]) if peer else ""
        if _in(sender, self._relays):
            forwarded = ",".join(request.headers.getall("X-Forwarded-For", []))
            sender = forwarded.rpartition(",")[2].strip()
        if not _in(sender, self._allowed):
            raise CallbackError("address")

    def _path(self, request: web.BaseRequest) -> str:
        """
        Raises:
            CallbackError: no callback has this path, or it is no POST.
        """
        base = self._config.path
        if not request.path.startswith(f"{base}/"):
            raise CallbackError("path")
        inner = request.path.removeprefix(base)
        if _OLD.search(inner):
            raise CallbackError("old-interface")
        path = inner.removeprefix("/api")
        if path not in self._paths:
            raise CallbackError("path")
        if request.method != hdrs.METH_POST:
            raise CallbackError("method")
        return path

    async def _prove(self, headers: Mapping[str, str]) -> Any:
        """
        Raises:
            CallbackError: it is not the gateway's, or not for a facility of ours.
            GatewayDownError: its keys are unknown.
        """
        known = -1
        while True:
            keys, number = await self._gateway.keys(known=known)
            try:
                return self._proof.prove(
                    headers,
                    keys,
                    gateway=self._proof.Gateway(self._ours.known_issuer, frozenset(self._ours.senders)),
                    facilities=self._ours.facilities.keys(),
                    now_s=self._clock.now_us() / 1_000_000,
                )
            except UnknownGatewayKeyError:
                if number == known or known >= 0:
                    raise
                known = number

    async def _body(self, request: web.BaseRequest) -> bytes | None:
        """The body; None: it broke off.

        Raises:
            CallbackError: it is too long.
        """
        found = bytearray()
        try:
            async with asyncio.timeout(BODY_S):
                async for chunk in request.content.iter_any():
                    found += chunk
                    if len(found) > self._config.max_body:
                        raise CallbackError("length")
        except (TimeoutError, web.RequestPayloadError, OSError):
            return None
        return bytes(found)

    def _unusable(self, reason: str) -> web.Response:
        """Of the gateway, and of no use: it need not come again."""
        self.counts[reason] += 1
        logger.warning("a callback of ABDM cannot be used", extra={"detail": reason})
        return web.Response(status=400, text=f"{reason}\n")

    def _refused(self, reason: str) -> web.Response:
        self.counts[reason] += 1
        status = STATUS.get(reason, 401)
        level = logging.WARNING if self.counts[reason] == 1 else logging.DEBUG  # a flood of them fills no disk
        logger.log(level, "a callback was refused", extra={"detail": reason})
        response = web.Response(status=status, text=f"{WORDS[status]}\n")
        response.force_close()
        return response


class _Door:
    """Which addresses may connect, for `Listener`: those of the gateway, and the relays before us."""

    def __init__(self, config: Any) -> None:
        self.tls = config.tls
        self.allow = (*config.allow, *config.relays) if config.allow else ()


def _is_object(body: bytes) -> bool:
    try:
        return isinstance(orjson.loads(body), dict)
    except orjson.JSONDecodeError:
        return False


def _in(text: str, networks: Collection[Any]) -> bool:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in one for one in networks)
