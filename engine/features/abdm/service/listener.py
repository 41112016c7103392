"""The listener for callbacks of ABDM's gateway: who sent it, is it for a facility of ours, and is it durable.

    the address       may it send callbacks; behind a relay the address is the one that the relay names
    the path          one that a flow takes; the health path answers to anyone
    the token         of the gateway itself (`engine.features.abdm.rules.gateway_tokens`); its keys are fetched anew
    once if unknown;
                      where the configuration wants that, it has proven no callback of another REQUEST-ID
    the body          not longer than it may be, a JSON object
    the signature     of a consent, where the configuration wants it: the callback is kept with what it proves
    committed         then 202; where the journal cannot keep it 503, and the gateway comes again

Nothing is done about a callback here. A body is read only of a sender who has proven who it is.
"""

import asyncio
import logging
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from types import ModuleType
from typing import Any, Protocol

import orjson
from aiohttp import hdrs, web

from engine.config import registry
from engine.features.abdm.config import ABDM
from engine.features.abdm.config.destination import HEALTH, AbdmDestination
from engine.features.abdm.rows import callbacks
from engine.features.abdm.rules.consents import Notice
from engine.features.abdm.rules.network import CONSENT_NOTICE
from engine.model.errors import CallbackError, ContentError, GatewayDownError, StoreError, UnknownGatewayKeyError
from engine.model.process.clock import Clock
from engine.store.journal import Journal
from engine.web import sender
from engine.web.listener import Listener

PATIENCE_S = 10.0
BODY_S = 30.0  # the longest time for a body
LINGER_S = 2.0  # for so long the rest of a refused body is read, so that its sender sees the answer
STOP_S = 2.0
RETRY_AFTER_S = 30
MAX_BODY = 1024 * 1024
MAX_LINE = 20 * 1024  # a header has a token of up to 16 KiB
_REQUEST_ID = re.compile(r"[0-9A-Za-z._:-]{1,100}")
_OLD = re.compile(r"/v0\.5/|/v1\.0/")
STATUS = {"facility": 403, "address": 403, "path": 404, "old-interface": 404, "method": 405, "length": 413}
WORDS = {401: "not proven", 403: "refused", 404: "not found", 405: "POST", 413: "too large"}

logger = logging.getLogger("labrelay.abdm")


class Keys(Protocol):
    """As `engine.features.abdm.client.gateway.Gateway`."""

    async def keys(self, *, known: int = -1) -> tuple[Sequence[Mapping[str, Any]], int]: ...
    def now(self) -> datetime: ...


class CallbackListener:
    """Of one site.

    Args:
        paths: of callbacks that are taken, without ``/api``.
        stored: called once a callback is durable.
        kept_broken: those of which a body that is no JSON, or the beginning of one that is too long, is kept, too: it
            may still say something.

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
        kept_broken: Collection[str] = (),
    ) -> None:
        self._ours, self._config = ours, ours.callbacks
        self._gateway = gateway
        self._journal = journal
        self._clock = clock
        self._paths = paths
        self._stored = stored
        self._kept_broken = kept_broken
        self._relays = sender.networks(self._config.relays)
        self._allowed = sender.networks(self._config.allow)
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
        from engine.features.abdm.rules import gateway_tokens as gateway

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
        if request.path == self._config.path + HEALTH and request.method in (hdrs.METH_GET, hdrs.METH_HEAD):
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
        keeps = path in self._kept_broken
        if (request.content_length or 0) > MAX_BODY and not keeps:
            raise CallbackError("length")
        request_id = request.headers.get("REQUEST-ID", "").strip()
        proven, number = await self._prove(request.headers)
        if not _REQUEST_ID.fullmatch(request_id):
            return self._unusable("request-id")
        body = await self._body(request)
        if body is None:
            return self._unusable("broken-body", 408)  # it may be a revocation: the gateway is to come again
        late_s, age_s = min(round(proven.late_s), 1 << 31), self._age_s(proven.made_s)
        token, once = proven.token, self._config.one_request_per_token
        is_long = len(body) > MAX_BODY
        if is_long or not _is_object(body):
            if keeps:  # under an id of its own: the whole one may come with the same REQUEST-ID
                broken_id, part = f"{request_id}{callbacks.BROKEN}", body[:MAX_BODY]
                if await self._journal.run(
                    callbacks.store, path, proven.facility, broken_id, part, late_s, age_s, token=token, once=once
                ):
                    self._stored()
            if is_long:
                raise CallbackError("length")
            return self._unusable("not-json")
        signed = path == CONSENT_NOTICE and await self._is_signed(body, number)
        new = await self._journal.run(
            callbacks.store, path, proven.facility, request_id, body, late_s, age_s, signed, token=token, once=once
        )
        if new is None:
            raise CallbackError("token-used")
        self.counts["taken" if new else "repeat"] += 1
        self.last_us = self._clock.now_us()
        if new:
            self._stored()
        return web.Response(status=202)

    def _age_s(self, made_s: float | None) -> int:
        """Seconds since a callback was made, by the gateway's clock."""
        if made_s is None:
            return 0
        return min(max(round(self._gateway.now().timestamp() - made_s), 0), 1 << 31)

    def _look_at_address(self, request: web.BaseRequest) -> None:
        """
        Raises:
            CallbackError: this address may not send.
        """
        if not self._allowed:
            return
        if not sender.is_in(sender.named(request, self._relays), self._allowed):
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

    async def _prove(self, headers: Mapping[str, str]) -> tuple[Any, int]:
        """Who sent it, and the number of the keys that prove it.

        Raises:
            CallbackError: it is not the gateway's, or not for a facility of ours.
            GatewayDownError: its keys are unknown.
        """
        known = -1
        while True:
            keys, number = await self._gateway.keys(known=known)  # its answer shows the gateway's time, too
            try:
                proven = self._proof.prove(
                    headers,
                    keys,
                    gateway=self._proof.Gateway(self._ours.known_issuer, frozenset(self._ours.senders)),
                    facilities=self._ours.facilities.keys(),
                    now_s=self._gateway.now().timestamp(),
                )
                return proven, number
            except CallbackError as error:
                is_unsure = isinstance(error, UnknownGatewayKeyError) or error.reason in self._proof.OF_TIME
                if not is_unsure or number == known or known >= 0:
                    raise
                known = number

    async def _is_signed(self, body: bytes, number: int) -> bool:
        """Whether a notice is a grant with a signature of the gateway; its keys are fetched anew for one that is not.

        Args:
            number: of the keys that have proven the callback.
        """
        if self._ours.consent_signatures == "keep":
            return False
        try:
            notice: Notice = registry.load(ABDM, "consents").read_notice(body)
        except ContentError:
            return False
        if notice.artefact is None:
            return False
        forms = registry.load(ABDM, "consents").forms(body)
        with suppress(GatewayDownError):
            keys, found = await self._gateway.keys()
            if self._proof.is_signed(forms, notice.signature, keys):
                return True
            newer, other = await self._gateway.keys(known=number)
            return other != found and bool(self._proof.is_signed(forms, notice.signature, newer))
        return False

    async def _body(self, request: web.BaseRequest) -> bytes | None:
        """The body; of one that is too long more than may be, and not the rest. None: it broke off."""
        found = bytearray()
        try:
            async with asyncio.timeout(BODY_S):
                async for chunk in request.content.iter_any():
                    found += chunk
                    if len(found) > MAX_BODY:
                        break
        except (TimeoutError, web.RequestPayloadError, OSError):
            return None
        return bytes(found)

    def _unusable(self, reason: str, status: int = 400) -> web.Response:
        """Of the gateway, and of no use; after 400 it need not come again."""
        self.counts[reason] += 1
        logger.warning("a callback of ABDM cannot be used", extra={"detail": reason})
        response = web.Response(status=status, text=f"{reason}\n")
        response.force_close()
        return response

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
