"""The answer of an authorization server to a token request (RFC 6749, 5.1 and 5.2).

    200 with access_token                   a token
    400, 401, 403 with an error of ours     NOT_AUTHORIZED  the client is wrong: a person must act, the breaker opens
    408, 425, 429, 5xx, or an error that    NO_TOKEN, transient; Retry-After honoured
    says "later"
    anything else                           NO_TOKEN, the destination as a whole: a log-in page, a wrong address

None of it is about the document that waits for the token, so none of it can make a dead letter. Of an answer only its
error code and its description are reported, the latter without any text that we sent.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from engine.model.errors import DeliveryError, DestinationDownError, TransientDeliveryError
from engine.model.reasons import ReasonCode

# Where the server does not say how long a token lives (RFC 6749 only recommends that it does).
UNSAID_LIFE_S = 300.0
LONGEST_LIFE_S = 86_400.0
MAX_TOKEN_CHARS = 32 * 1024
MAX_DESCRIPTION_CHARS = 200
LATER = frozenset({"temporarily_unavailable", "server_error", "slow_down"})
_CODE = re.compile(r"[A-Za-z_]{1,40}")  # any server has some of its own
# Error codes of RFC 6749 and RFC 8707, and where to look.
WRONG: dict[str, str] = {
    "invalid_client": "it does not know this client, or not with this proof; check {proof}",
    "unauthorized_client": "this client may not use the grant client_credentials; have it allowed there",
    "invalid_grant": "it does not take this proof; check {proof}",
    "invalid_scope": "it does not give this scope; check scope",
    "invalid_target": "it does not know this audience; check audience",
    "invalid_request": "it misses something in the request; check scope, audience and {proof}",
    "unsupported_grant_type": "it does not know the grant client_credentials; check token_url",
    "access_denied": "it denies access to this client; have it allowed there",
}


@dataclass(frozen=True, slots=True)
class Granted:
    """A token.

    Attributes:
        value: as it goes into ``Authorization: Bearer``.
        life_s: how long it is good for, from when it was asked for.
    """

    value: str = field(repr=False)
    life_s: float


def read_answer(
    status: int, body: bytes, *, proof: str, secrets: Iterable[str] = (), retry_after: float | None = None
) -> Granted | DeliveryError:
    """The token, or why there is none.

    Args:
        proof: the keys of the configuration that identify us.
        secrets: texts that must not be reported, even if the server repeats them.
    """
    said = _object(body)
    if 200 <= status < 300:
        token, life_s = said.get("access_token"), _life(said.get("expires_in"))
        kind = said.get("token_type", "Bearer")
        if not isinstance(kind, str) or kind.lower() != "bearer":
            return _none(f"HTTP {status}, a token of another type than Bearer")
        if isinstance(token, str) and _is_token(token) and life_s is not None:
            return Granted(token, life_s)
        return _none(f"HTTP {status}, and no token in the answer")
    error = said.get("error")
    code = error if isinstance(error, str) and _CODE.fullmatch(error) else ""
    answered = f"HTTP {status}{f' {code}' if code else ''}"
    if status in (408, 425, 429) or status >= 500 or code in LATER:
        return TransientDeliveryError(ReasonCode.NO_TOKEN, f"the token server: {answered}", retry_after=retry_after)
    if (code and 400 <= status < 500) or status in (401, 403):
        why = WRONG.get(code, "it refuses this client; check {proof}").format(proof=proof)
        words = _description(said.get("error_description"), secrets)
        return DestinationDownError(
            ReasonCode.NOT_AUTHORIZED, f"the token server: {answered}: {why}{f' (it says: {words})' if words else ''}"
        )
    if 300 <= status < 400:
        return _none(f"{answered}, a redirect; none is followed")
    return _none(answered)


def _none(what: str) -> DestinationDownError:
    return DestinationDownError(ReasonCode.NO_TOKEN, f"the token server: {what}; check token_url")


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _is_token(text: str) -> bool:
    """Nothing that would end a header line, or is no token at all."""
    return 0 < len(text) <= MAX_TOKEN_CHARS and text.isascii() and text.isprintable() and " " not in text


def _life(said: Any) -> float | None:
    """Seconds; some servers write them as text. None where it is no number of seconds."""
    if said is None:
        return UNSAID_LIFE_S
    if isinstance(said, bool) or not isinstance(said, int | float | str):
        return None
    try:
        life_s = float(said)
    except (ValueError, OverflowError):
        return None
    return min(life_s, LONGEST_LIFE_S) if life_s > 0 else None  # also where it is no number: NaN


def _description(said: Any, secrets: Iterable[str]) -> str:
    """The server's own words, shortened; none where they repeat a secret."""
    if not isinstance(said, str):
        return ""
    text = " ".join("".join(each if each.isprintable() else " " for each in said).split())
    if any(secret and secret in said for secret in secrets):
        return ""
    return text if len(text) <= MAX_DESCRIPTION_CHARS else text[:MAX_DESCRIPTION_CHARS].rstrip() + " ..."
