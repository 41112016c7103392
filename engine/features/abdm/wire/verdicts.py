"""What an answer of ABDM's gateway means for a call. Pure.

One code may have several meanings, then the message decides. A code that is not known is final: a call that nothing is
known about is not repeated.

Sources: NHA's pages on errors, V3; answers of its sandbox that integrators have published.

Errors of ABDM's gateway, in each of the shapes in which they come. Pure.

    object    {"error": {"code": "ABDM-1027: ", "message": "..."}}; the answers of callbacks have it, too
    list      [{"error": {"code": ..., "message": ...}}, {"code": ..., "message": ...}]
    flat      {"code": "900901", "message": "...", "description": "..."}
    message   {"message": "...", "timestamp": "..."}
    fields    {"abhaNumber": "must be ..."}: a field of the request, and what is wrong there
    text      Access Denied
    html      the page of a proxy
    empty     400 without a body; an ABHA number with dashes has that answer

A message may quote the patient's address or number: it is for people who may see patients, and in no log.

Sources: NHA's pages on errors; answers of its sandbox that integrators have published.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from adapters.codecs import json_tree
from engine.features.abdm.rules.network import GatewayAnswer, Verdict
from engine.model.errors import ContentError

Shape = Literal["object", "list", "flat", "message", "fields", "text", "html", "empty"]
MAX_BODY_BYTES = 64 * 1024  # of an answer that is read; of a longer one the beginning is shown
MAX_MESSAGE = 500  # characters
MAX_FAULTS = 20  # of one answer

_CODE = re.compile(r"([A-Z]{2,8}-[0-9]{3,4}|[0-9]{3,6})\s*:?\s*")


@dataclass(frozen=True, slots=True)
class GatewayFault:
    """One error. ``code`` is ``ABDM-1027`` or ``900901``, without signs behind it; empty where there is none."""

    shape: Shape
    code: str = ""
    message: str = field(default="", repr=False)


def read_faults(body: bytes) -> tuple[GatewayFault, ...]:
    """The errors of an answer that is none of success, or of a callback; at least one. Never fails."""
    if not body.strip():
        return (GatewayFault("empty"),)
    try:
        tree = json_tree.read(body)[0] if len(body) <= MAX_BODY_BYTES else None
    except ContentError:
        tree = None
    if tree is None:
        text = body[:MAX_BODY_BYTES].decode("utf-8", "replace").strip()
        if text[:1] == "<":
            return (GatewayFault("html"),)
        return (GatewayFault("text", message=_short(text)),)
    found = list(_kind_of_fault(tree))[:MAX_FAULTS]
    return tuple(found) or (GatewayFault("list" if isinstance(tree, list) else "fields"),)


def has_error(tree: Mapping[str, Any]) -> bool:
    """Whether a callback brings an error: success is that there is none, no word of ``status`` says it."""
    return bool(tree.get("error"))


def _kind_of_fault(tree: Any) -> Iterator[GatewayFault]:
    if isinstance(tree, list):
        for one in tree:
            for inner in _kind_of_fault(one):
                yield GatewayFault("list", inner.code, inner.message)
    elif not isinstance(tree, Mapping):
        yield GatewayFault("text", message=_short(str(tree)))
    elif tree.get("error") and isinstance(tree["error"], Mapping | list):
        for inner in _kind_of_fault(tree["error"]):
            yield GatewayFault("object", inner.code, inner.message)
    elif "code" in tree:
        code = _code(tree["code"])
        words = [_said(tree.get(name)) for name in ("message", "description")]
        if not code:
            words.insert(0, _said(tree["code"]))
        yield GatewayFault("flat", code, _short(": ".join(dict.fromkeys(filter(None, words)))))
    elif isinstance(tree.get("message"), str):
        yield GatewayFault("message", message=_short(tree["message"]))
    else:
        for name, value in tree.items():
            if name != "timestamp":
                yield GatewayFault("fields", message=_short(f"{name}: {_said(value)}"))


def _code(said: Any) -> str:
    """A code of the forms that are known; empty of all else."""
    found = _CODE.fullmatch(said.strip().upper()) if isinstance(said, str) else None
    return found[1] if found else ""


def _said(value: Any) -> str:
    """Text, or texts of a list."""
    if isinstance(value, list):
        return ", ".join(one for one in value if isinstance(one, str))
    return value.strip() if isinstance(value, str) else ""


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= MAX_MESSAGE else f"{text[: MAX_MESSAGE - 1]}…"


def _codes(text: str) -> frozenset[str]:
    return frozenset(f"ABDM-{code}" for code in text.split())


AGAIN = _codes("1000 1004 1007 1011 1018 1019 1020 1024 1028 1029 1033 1034 1048 1201")
SLOW = _codes("1022 2429")
STOP = _codes("1027")
SETTINGS = _codes("1025 1035 1040 2402 2403")
BEFORE = _codes("1090 1092 1101 1113")
LOG_IN = frozenset({"900901", "900902"})
ERRORED = "ERRORED"  # of a notice to the app, or an SMS, with or without an error beside it
LINKED, OTHER, REFUSED, INVALID = "ABDM-1056", "ABDM-9999", "ABDM-2500", "ABDM-1006"


def answer(status: int, body: bytes, *, retry_after_s: float = 0.0) -> GatewayAnswer:
    """The answer to a call.

    Args:
        status: of HTTP. A page of a proxy, with any status, is none of the gateway's answers.
    """
    if 200 <= status < 300 and not body.lstrip().startswith(b"<"):
        return GatewayAnswer(status, Verdict.TAKEN, body=body)
    fault = worst(read_faults(body))
    return GatewayAnswer(status, _of(status, fault), fault.code, fault.message, retry_after_s=retry_after_s, body=body)


def result(said: Mapping[str, Any], body: bytes) -> GatewayAnswer:
    """What a callback says of a call.

    Args:
        said, body: the callback, as a tree and as bytes.
    """
    if not has_error(said):
        acknowledged = said.get("acknowledgement")
        status = acknowledged.get("status") if isinstance(acknowledged, Mapping) else None
        if isinstance(status, str) and status.strip().upper() == ERRORED:
            return GatewayAnswer(0, Verdict.FINAL, ERRORED, body=body)
        return GatewayAnswer(0, Verdict.TAKEN, body=body)
    fault = worst(read_faults(body))
    return GatewayAnswer(0, _meaning(fault) or Verdict.FINAL, fault.code, fault.message, body=body)


def worst(faults: tuple[GatewayFault, ...]) -> GatewayFault:
    """The one that decides: the first with a code, else the first."""
    return next((one for one in faults if one.code), faults[0])


def _of(status: int, fault: GatewayFault) -> Verdict:
    if fault.shape == "html":
        return Verdict.AGAIN
    if status == 401:
        return Verdict.LOG_IN
    if status == 429:
        return Verdict.SLOW
    if status == 408 or status >= 500:
        return Verdict.AGAIN
    found = _meaning(fault)
    if found is not None:
        return found
    return Verdict.SETTINGS if status in (403, 404, 405) or 300 <= status < 400 else Verdict.FINAL


def _meaning(fault: GatewayFault) -> Verdict | None:
    code, words = fault.code, fault.message.lower()
    for codes, verdict in (
        (AGAIN, Verdict.AGAIN),
        (SLOW, Verdict.SLOW),
        (STOP, Verdict.STOP),
        (SETTINGS, Verdict.SETTINGS),
        (BEFORE, Verdict.BEFORE),
        (LOG_IN, Verdict.LOG_IN),
    ):
        if code in codes:
            return verdict
    if code == INVALID and "hitype" in words.replace(" ", ""):  # `hi_type_key` is wrong
        return Verdict.SETTINGS
    if code == LINKED and "link" in words:
        return Verdict.BEFORE
    if code == OTHER and "duplicate" in words:
        return Verdict.BEFORE
    if code == OTHER and "try" in words:
        return Verdict.AGAIN
    if code == REFUSED and ("auth" in words or "token" in words):
        return Verdict.LOG_IN
    return Verdict.FINAL if code else None
