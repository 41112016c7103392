"""Errors of ABDM's gateway, in each of the shapes in which they come. Pure.

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
    found = list(_of(tree))[:MAX_FAULTS]
    return tuple(found) or (GatewayFault("list" if isinstance(tree, list) else "fields"),)


def has_error(tree: Mapping[str, Any]) -> bool:
    """Whether a callback brings an error: success is that there is none, no word of ``status`` says it."""
    return bool(tree.get("error"))


def _of(tree: Any) -> Iterator[GatewayFault]:
    if isinstance(tree, list):
        for one in tree:
            for inner in _of(one):
                yield GatewayFault("list", inner.code, inner.message)
    elif not isinstance(tree, Mapping):
        yield GatewayFault("text", message=_short(str(tree)))
    elif tree.get("error") and isinstance(tree["error"], Mapping | list):
        for inner in _of(tree["error"]):
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
