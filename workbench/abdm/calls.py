"""The calls of a laboratory's program: which there are, and what each has to bring. Each fault is noted and answered.

The gateway looks at the log-in first, then at the headers, then at the body. All faults of the headers are noted; the
answer has the code of the first.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from pydantic import ValidationError

from workbench.abdm import bodies
from workbench.abdm.signing import Signer
from workbench.abdm.state import MOST_SESSIONS, State
from workbench.errors import GatewayRefusalError

MOST_SKEW_S = 300.0  # between the TIMESTAMP of a call and our clock
MOST_ERRORS_NOTED = 20  # of one body
UNKNOWN, MISSING = "900901", "900902"
OLD = re.compile(r"/gateway/v0\.5/|/v0\.5/|/v1\.0/")
HI_TYPE_WORDS = "Invalid HIType, it must be in " + ",".join(bodies.HI_TYPES)


@dataclass(frozen=True)
class Call:
    """``facility``: it needs X-HIP-ID."""

    name: str
    method: str
    path: str
    body: type[bodies.Body] | None = None
    facility: bool = False
    status: int = 202


_USER = "/api/hiecm/user-initiated-linking/v3"
_DATA = "/api/hiecm/data-flow/v3/health-information"
CALLS = {
    (call.method, call.path): call
    for call in (
        Call("session", "POST", "/api/hiecm/gateway/v3/sessions", bodies.Session),
        Call("bridge-url", "PATCH", "/api/hiecm/gateway/v3/bridge/url", bodies.BridgeUrl),
        Call("bridge-services", "GET", "/api/hiecm/gateway/v3/bridge-services", status=200),
        Call("certs", "GET", "/api/hiecm/gateway/v3/certs", status=200),
        Call("generate-token", "POST", "/api/hiecm/v3/token/generate-token", bodies.GenerateToken, facility=True),
        Call("link", "POST", "/api/hiecm/hip/v3/link/carecontext", bodies.Link, facility=True),
        Call("context-notify", "POST", "/api/hiecm/hip/v3/link/context/notify", bodies.ContextNotify, facility=True),
        Call("on-discover", "POST", f"{_USER}/patient/care-context/on-discover", bodies.OnDiscover),
        Call("on-init", "POST", f"{_USER}/link/care-context/on-init", bodies.OnInit),
        Call("on-confirm", "POST", f"{_USER}/link/care-context/on-confirm", bodies.OnConfirm),
        Call("consent-on-notify", "POST", "/api/hiecm/consent/v3/request/hip/on-notify", bodies.ConsentOnNotify),
        Call("on-request", "POST", f"{_DATA}/hip/on-request", bodies.OnRequest, status=200),
        Call("data-notify", "POST", f"{_DATA}/notify", bodies.DataNotify),
        Call("sms-notify", "POST", "/api/hiecm/hip/v3/link/patient/links/sms/notify2", bodies.SmsNotify),
        Call("on-share", "POST", "/api/hiecm/patient-share/v3/on-share", bodies.OnShare),
        Call("status-on-notify", "POST", "/api/hiecm/patients/v3/status/on-notify", bodies.StatusOnNotify),
    )
}
SERVICE = Call("bridge-service", "GET", "/api/hiecm/gateway/v3/bridge-service/serviceId/", status=200)
NAMES = frozenset(call.name for call in (*CALLS.values(), SERVICE))


@dataclass(frozen=True)
class Heard:
    """A call that came. ``said`` is None where it has no body, or a wrong one; ``facility`` is of its X-HIP-ID."""

    call: Call
    path: str
    headers: Mapping[str, str]
    said: Any = None
    refusal: GatewayRefusalError | None = None

    @property
    def request_id(self) -> str:
        return self.headers.get("request-id", "")

    @property
    def facility(self) -> str:
        return self.headers.get("x-hip-id", "")


class Gate:
    """Looks at each call."""

    def __init__(self, state: State, signer: Signer) -> None:
        self._state = state
        self._signer = signer
        self._sessions: dict[str, float] = {}  # token -> its end

    def new_session(self, token: str, ends_s: float) -> None:
        self._sessions[token] = ends_s
        if len(self._sessions) > MOST_SESSIONS:
            del self._sessions[next(iter(self._sessions))]

    def end_sessions(self) -> None:
        """Each token ends now, before its own time."""
        self._sessions.clear()

    def is_live(self, authorization: str) -> bool:
        """Whether this is the token of a session that goes on."""
        scheme, _, token = authorization.partition(" ")
        return scheme == "Bearer" and self._sessions.get(token, 0) > self._state.now_s()

    def is_ours(self, headers: Mapping[str, str]) -> bool:
        """Whether this was the token of a session, which may have ended."""
        return self._signer.read(headers.get("authorization", "").removeprefix("Bearer ")) is not None

    def find(self, method: str, path: str) -> Call:
        """
        Raises:
            GatewayRefusalError: there is no such call.
        """
        if (call := CALLS.get((method, path))) is not None:
            return call
        if path.startswith(SERVICE.path) and method == SERVICE.method:
            return SERVICE
        if OLD.search(path):
            words = "the old interface; V3 alone is served"
            raise GatewayRefusalError("ABDM-1150", words, status=404, rule="old-interface", detail=path)
        others = [known for _, known in CALLS if known == path]
        status, words = (405, "Method Not Allowed") if others else (404, "Runtime Error")
        raise GatewayRefusalError(str(status), words, status=status, rule="unknown-call", detail=f"{method} {path}")

    def look(self, call: Call, path: str, headers: Mapping[str, str], body: bytes) -> Heard:
        """A call with all its faults noted; `Heard.refusal` is the first."""
        named = {name.lower(): value for name, value in headers.items()}
        heard = Heard(call, path, named)
        refusals = [*self._headers(heard)]
        said, wrong = self._body(call, named, body)
        refusals += wrong
        for one in refusals:
            if one.rule:
                self._state.violated(one.rule, call.name, one.detail or one.message, heard.request_id)
        return Heard(call, path, named, said, refusals[0] if refusals else None)

    def _headers(self, heard: Heard) -> list[GatewayRefusalError]:
        state, headers, found = self._state, heard.headers, []

        def wrong(code: str, message: str, rule: str, detail: str = "", status: int = 400) -> None:
            found.append(GatewayRefusalError(code, message, status=status, rule=rule, detail=detail))

        said = headers.get("authorization", "")
        if heard.call.name == "session":
            if said:
                state.violated("header-authorization", "session", "a session call carries no token", heard.request_id)
        elif not said:
            wrong(MISSING, "Missing Credentials", "header-authorization", status=401)
        elif not said.startswith("Bearer "):
            wrong(UNKNOWN, "Invalid Credentials", "header-authorization", "no bearer token", status=401)
        elif not self.is_live(said):
            wrong(
                UNKNOWN,
                "Invalid Credentials",
                "" if self.is_ours(headers) else "header-authorization",
                "no token of ours",
                401,
            )
        if not _is_uuid(heard.request_id):
            wrong("ABDM-2404", "Invalid Request Id", "header-request-id", "missing, or no UUID")
        elif not state.is_new(heard.request_id):
            wrong("ABDM-1064", "request with this request id already exists", "request-id-reused")
        if not self._is_now(headers.get("timestamp", "")):
            wrong("ABDM-2402", "Invalid Timestamp", "header-timestamp", "missing, not UTC with milliseconds, or off")
        if headers.get("x-cm-id") != state.settings.environment:
            wrong("ABDM-2403", "Invalid X-CM-ID", "header-x-cm-id")
        if heard.facility not in state.settings.facilities and (heard.call.facility or heard.facility):
            wrong("ABDM-1035", "Invalid HIP ID", "header-x-hip-id", "missing, or no facility of this account")
        if "x-link-token" in headers and heard.call.name != "link":
            state.violated("header-x-link-token", heard.call.name, "a link token is for link alone", heard.request_id)
        if heard.call.body is not None and _media(headers) != "application/json":
            wrong("415", "Unsupported Media Type", "content-type", _media(headers) or "none", status=415)
        return found

    def _is_now(self, text: str) -> bool:
        if not bodies.is_time(text):
            return False
        return abs((bodies.instant(text) - self._state.now()).total_seconds()) <= MOST_SKEW_S

    def _body(self, call: Call, headers: Mapping[str, str], body: bytes) -> tuple[Any, list[GatewayRefusalError]]:
        if call.body is None:
            return None, (
                [] if not body else [GatewayRefusalError("ABDM-1067", "Request body not required", rule="body")]
            )
        if not body:
            return None, [GatewayRefusalError("ABDM-1064", "Request body was missing", rule="body")]
        try:
            return call.body.model_validate(orjson.loads(body)), []
        except orjson.JSONDecodeError:
            return None, [GatewayRefusalError("ABDM-1006", "Bad Request, invalid request Body", rule="body-json")]
        except ValidationError as error:
            return None, [_refusal(one) for one in error.errors()[:MOST_ERRORS_NOTED]]


def _refusal(error: Any) -> GatewayRefusalError:
    """The gateway's answer to one fault of a body."""
    place = ".".join(map(str, error["loc"]))
    last = next((part for part in reversed(error["loc"]) if isinstance(part, str)), "")
    code, message = {
        "abhaNumber": ("", ""),  # with dashes: an answer without a body
        "hiType": ("ABDM-1006", HI_TYPE_WORDS),
        "hiTypes": ("ABDM-1006", HI_TYPE_WORDS),
        "count": ("ABDM-1006", "Invalid count, must be 2 digit and ranges between 1 to 20"),
        "careContexts": ("ABDM-1057", "Invalid Care Contexts"),
        "referenceNumber": ("ABDM-1060", "Invalid Patient Reference Number"),
        "display": ("ABDM-1061", "Invalid Patient Display"),
        "abhaAddress": ("ABDM-1170", "Invalid ABHA address"),
    }.get(last, ("ABDM-1006", "Bad Request, invalid request Body"))
    if error["type"] == "context_count":
        code, message = "ABDM-1037", "Counter and Care context count mismatch"
    elif "careContexts" in error["loc"] and last == "referenceNumber":
        code, message = "ABDM-1057", "Invalid Care Contexts"
    return GatewayRefusalError(code, message, rule="body", detail=f"{place or 'body'}: {error['msg']}")


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


def _media(headers: Mapping[str, str]) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()
