"""Signed callbacks of the simulated gateway, with their faults.

The gateway delivers at least once and in any order. A callback that nothing took (no connection, no answer in time,
5xx) is sent again later with the same REQUEST-ID and token, as NHA's sandbox does. Any other answer than the expected
one is a violation; so is a 2xx to a forged callback.
"""

import asyncio
import io
import ipaddress
import json
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import aiohttp

from workbench.abdm.faults import CODE, FORGED, SIGNED_WRONG, Drawer
from workbench.abdm.paths import ONLY_202, PATHS, WANTS_ANSWER
from workbench.abdm.signing import Signer
from workbench.abdm.state import MOST_OPEN, TOKEN_CODES, Asked, State
from workbench.errors import GatewayRefusalError

TOO_LARGE_BYTES = 50 * 1024 * 1024
MOST_WAITING = 5_000  # callbacks that are not delivered yet
MOST_AT_ONCE = 100  # connections to the laboratory


@dataclass
class Callback:
    """A callback that is to be sent.

    Attributes:
        subject: as of `Asked`.
        taken: called once the laboratory has taken it.
        wanted: as of `Asked`.
    """

    name: str
    facility: str
    body: dict[str, Any]
    subject: str = ""
    taken: Callable[[], None] | None = None
    wanted: bool = True
    request_id: str = field(default_factory=lambda: str(uuid4()))


class Callbacks:
    """Sends them, each in a task of its own."""

    def __init__(self, state: State, signer: Signer, drawer: Drawer) -> None:
        self._state = state
        self._signer = signer
        self._drawer = drawer
        self._client: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._held: list[asyncio.Event] = []

    def open(self) -> None:
        self._client = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._state.settings.answer_within_s),
            connector=aiohttp.TCPConnector(limit=MOST_AT_ONCE, force_close=True),
            trust_env=False,
        )

    async def close(self) -> None:
        """Drop all that are still to be sent."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.close()

    def draw(self, callback: Callback) -> str:
        """The fault of this callback; called once for each."""
        return self._drawer.arrival(callback.name)

    def raise_if_full(self) -> None:
        """
        Raises:
            GatewayRefusalError: too many wait.
        """
        if len(self._tasks) >= MOST_WAITING:
            raise GatewayRefusalError("ABDM-9999", f"{MOST_WAITING} callbacks wait", status=507)

    def start(self, callback: Callback, kind: str) -> None:
        """Send it in the background."""
        self.later(self.deliver(callback, kind))

    async def before_the_answer(self, callback: Callback) -> None:
        """Send it, and wait for the laboratory, which may want the answer first: `Faults.late_s` at most."""
        await asyncio.wait({self.later(self.deliver(callback, "early"))}, timeout=self._drawer.faults.late_s)

    def later(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something that `close` ends."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def deliver(self, callback: Callback, kind: str) -> None:
        """Send it with this fault, and again where nothing took it."""
        if kind == "dropped":
            self._log(callback, kind, "dropped")
            return
        if CODE.fullmatch(kind) and callback.name not in WANTS_ANSWER:
            callback = self._failed(callback, kind)
        if kind == SIGNED_WRONG:
            callback = self._signed_wrong(callback)
        if kind == "late":
            await asyncio.sleep(self._drawer.faults.late_s)
        elif kind == "reordered":
            await self._behind_the_next()
        if kind in FORGED:
            await self._post(callback, kind, str(uuid4()))
        await self._until_taken(callback, kind if kind in ("late-token", "no-prefix") else "")
        if kind == "duplicate":
            await self._post(callback, "", callback.request_id)
        elif kind == "repeat":
            again = str(uuid4())
            if callback.name in WANTS_ANSWER:
                known = self._state.asked.get(callback.request_id) or Asked(callback.name, callback.facility, "")
                # Each notice of a consent may be answered; one transaction has one answer.
                same = Asked(known.callback, known.facility, known.subject, wanted=False)
                self._state.asked[again] = same if callback.name == "consent-notify" else known
            await self._post(callback, "", again)
        if kind != "reordered" and self._held:
            self._held.pop(0).set()

    def _failed(self, callback: Callback, kind: str) -> Callback:
        """The same with an error in place of its result."""
        found = CODE.fullmatch(kind)
        assert found is not None
        error = {"code": found[1], "message": found[2] or "a fault of the simulator, on purpose"}
        body = {"error": error, "response": callback.body.get("response", {})}
        if callback.name == "on-link" and found[1] in TOKEN_CODES:
            self._state.drop_token(callback.facility, callback.subject)
        return Callback(callback.name, callback.facility, body, callback.subject, request_id=callback.request_id)

    def _signed_wrong(self, callback: Callback) -> Callback:
        """The same with another signature of the artefact in it."""
        notice = callback.body.get("notification", {})
        if "consentDetail" not in notice:
            return callback
        signature = self._signer.signature(notice["consentDetail"], wrong=True)
        return replace(callback, body={"notification": notice | {"signature": signature}})

    async def _behind_the_next(self) -> None:
        turn = asyncio.Event()
        self._held.append(turn)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._drawer.faults.late_s):
                await turn.wait()
        if turn in self._held:
            self._held.remove(turn)

    async def _until_taken(self, callback: Callback, kind: str) -> None:
        state = self._state
        if callback.name in WANTS_ANSWER:
            asked = Asked(callback.name, callback.facility, callback.subject, wanted=callback.wanted)
            state.asked[callback.request_id] = asked
            if len(state.asked) > MOST_OPEN:
                del state.asked[next(iter(state.asked))]
        token = self._signer.callback(state.now_s(), kind)
        for attempt in range(1 + state.settings.repeats):
            if attempt:
                await asyncio.sleep(state.settings.repeat_after_s)
            if await self._post(callback, kind, callback.request_id, token):
                return

    async def _post(self, callback: Callback, kind: str, request_id: str, token: str | None = None) -> bool:
        """One attempt; whether the laboratory has answered. A wrong answer is noted."""
        state, client = self._state, self._client
        address = self._address(callback.name, kind)
        if client is None or not address:
            self._log(callback, kind, "no bridge URL", request_id)
            return False
        if token is None:
            token = self._signer.callback(state.now_s(), kind)
        written = state.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        headers = {"Content-Type": "application/json", "REQUEST-ID": request_id, "TIMESTAMP": written}
        headers["X-HIP-ID"] = "IN9999999999" if kind == "other-facility" else callback.facility
        if token:
            headers["Authorization"] = token
        body = json.dumps(callback.body, ensure_ascii=False).encode()
        if kind in ("not-json", "too-large"):
            body = b'{"not JSON' if kind == "not-json" else body + b" " * TOO_LARGE_BYTES
        try:
            async with client.post(address, data=io.BytesIO(body), headers=headers, allow_redirects=False) as answer:
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._log(callback, kind, type(error).__name__, request_id)
            return False
        self._log(callback, kind, status, request_id)
        if kind in FORGED:
            if not 400 <= status <= 499:
                state.violated(
                    "forged-callback-taken", callback.name, f"{kind}: answered {status}, not 4xx", request_id
                )
            return True
        if status >= 500:
            return False
        expected = (202,) if callback.name in ONLY_202 else (200, 202)
        if status not in expected:
            words = " or ".join(map(str, expected))
            state.violated("callback-answer", callback.name, f"answered {status}, not {words}", request_id)
        elif callback.taken is not None:
            callback.taken()
        return True

    def _address(self, name: str, kind: str) -> str:
        path = PATHS[name].removeprefix("/api") if kind == "no-prefix" else PATHS[name]
        return self._state.bridge_url.rstrip("/") + path if self._state.bridge_url else ""

    def _log(self, callback: Callback, kind: str, outcome: int | str, request_id: str = "") -> None:
        self._state.counts[f"callback {callback.name}"] += 1
        self._state.sent.append(
            {
                "callback": callback.name,
                "facility": callback.facility,
                "subject": callback.subject,
                "requestId": request_id or callback.request_id,
                "fault": kind,
                "outcome": outcome,
            }
        )


def may_be_called(url: str, hosts: frozenset[str]) -> bool:
    """Whether an address is on this machine, or one of ``hosts``."""
    try:
        host = urlsplit(url).hostname or ""
        return host in hosts or host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
