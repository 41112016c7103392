"""The answer of a FHIR server to a search, and a message made of one of its resources. Pure.

    {"resourceType": "Bundle", "type": "searchset", "link": [{"relation": "next", "url": ...}],
     "entry": [{"search": {"mode": "match"}, "resource": {...}}, {"search": {"mode": "include"}, "resource": {...}}]}

A message is a Bundle of type ``collection``: the resource first, as the server wrote it byte for byte, then those that
it refers to.

Sources: HL7 FHIR R4, search.html (3.1.1), http.html (paging), bundle.html.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from adapters.codecs import json_tree
from adapters.codecs.fhir.outcome import reasons
from adapters.codecs.json_tree import DECODER, items, members, skip
from engine.model.errors import ContentError
from engine.model.texts.reasons import ReasonCode

SYSTEM = "urn:labrelay:polled"  # of the identifier of a message: type, id and version of its resource
ORDERS = ("ServiceRequest", "Task")
REFERRED = ("Patient", "Specimen", "ServiceRequest")  # the types that an order line is made of
COUNTED_DIGITS = 18  # of 64 bits
_ID = re.compile(r"[A-Za-z0-9.-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One resource of an answer.

    Attributes:
        id: empty where it has none that R4 allows.
        version: ``meta.versionId``, or empty.
        updated_us: ``meta.lastUpdated``; 0 without one.
        mode: ``match``, ``include``, ``outcome``; empty where the server does not say.
        raw: its bytes, as they came.
    """

    type: str
    id: str
    version: str
    updated_us: int
    mode: str
    raw: bytes
    tree: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.type}/{self.id}"

    @property
    def identity(self) -> str:
        """Differs between any two versions of the resource: version and time, else the content."""
        return f"{self.version} {self.updated_us}" if self.version else sha256(self.raw).hexdigest()

    @property
    def version_number(self) -> int:
        """``meta.versionId``, as most servers count it; 0 where it is no number."""
        return int(self.version) if self.version.isdigit() and len(self.version) <= COUNTED_DIGITS else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """``next``: the address of the next page as the server gives it; empty: it is the last. ``said``: the codes of the
    warnings in it, without patient data.
    """

    found: tuple[Found, ...]
    next: str
    said: str


def page(body: bytes) -> Page:
    """Read an answer.

    Raises:
        ContentError: UNREADABLE, TOO_LARGE: it is no JSON, or no Bundle of a search.
    """
    tree, _ = json_tree.read(body)
    kind = tree.get("resourceType") if isinstance(tree, dict) else None
    if kind == "OperationOutcome":
        why = reasons(body)
        raise ContentError(ReasonCode.UNREADABLE, f"an OperationOutcome{f': {why}' if why else ''}")
    if kind != "Bundle" or tree.get("type", "searchset") != "searchset":
        raise ContentError(ReasonCode.UNREADABLE, "no Bundle of a search")
    found = [one for one in _entries(body.decode("utf-8-sig")) if one is not None]
    return Page(
        found=tuple(one for one in found if one.type != "OperationOutcome"),
        next=next((link for link in _links(tree)), ""),
        said="; ".join(filter(None, (reasons(one.raw) for one in found if one.type == "OperationOutcome"))),
    )


def resource(body: bytes) -> Found | None:
    """A resource that was read by itself; None where the body is none.

    Raises:
        ContentError: as `page`.
    """
    text = body.decode("utf-8-sig", "replace").strip()
    tree, _ = json_tree.read(body)
    return _found(tree, text.encode(), "")


def message(first: Found, others: Iterable[Found], base: str) -> bytes:
    """The message of a resource.

    Args:
        others: what it refers to.
        base: address of the server.
    """
    head: dict[str, Any] = {"resourceType": "Bundle", "type": "collection"}
    if first.version:
        head["identifier"] = {"system": SYSTEM, "value": f"{first.name}/{first.version}"}
    entries = [
        b'{"fullUrl":' + json.dumps(f"{base}/{one.name}").encode() + b',"resource":' + one.raw + b"}"
        for one in (first, *others)
    ]
    return json.dumps(head).encode()[:-1] + b', "entry":[' + b",".join(entries) + b"]}"


def references(tree: dict[str, Any]) -> Iterator[str]:
    """What an order refers to: its patient, its specimens, the request that a Task is about."""
    for name in ("focus", "for", "subject"):
        yield from _reference(tree.get(name))
    specimens = tree.get("specimen")
    for one in specimens if isinstance(specimens, list) else ():
        yield from _reference(one)


def local(reference: str, base: str) -> str:
    """``Type/id`` of a reference to a resource of the server that an order line is made of; empty: it is none."""
    name = reference.removeprefix(f"{base}/").partition("/_history/")[0]
    kind, _, identity = name.partition("/")
    return name if kind in REFERRED and _ID.fullmatch(identity) else ""


def is_id(text: str) -> bool:
    """Whether R4 allows this as the id of a resource, and it is one step of an address."""
    return _ID.fullmatch(text) is not None and text not in (".", "..")


def micros(instant: object) -> int:
    """An instant (``2026-11-24T10:00:00.123+05:30``) in microseconds; 0 where it is none."""
    try:
        at = datetime.fromisoformat(str(instant))
        return round(at.timestamp() * 1_000_000) if at.tzinfo is not None else 0
    except (ValueError, OverflowError):
        return 0


def _reference(value: object) -> Iterator[str]:
    if isinstance(value, dict) and isinstance(text := value.get("reference"), str):
        yield text


def _links(tree: dict[str, Any]) -> Iterator[str]:
    links = tree.get("link")
    for one in links if isinstance(links, list) else ():
        if isinstance(one, dict) and one.get("relation") == "next" and isinstance(one.get("url"), str):
            yield one["url"]


def _entries(text: str) -> Iterator[Found | None]:
    """The resources of a Bundle, each with the bytes that it has there."""
    for name, start, _ in members(text, skip(text, 0)):
        if name != "entry" or text[start] != "[":
            continue
        for at in items(text, start):
            if text[at] != "{":
                continue
            raw, mode = "", ""
            for member, begin, end in members(text, at):
                if member == "resource":
                    raw = text[begin:end]
                elif member == "search":
                    said = DECODER.raw_decode(text, begin)[0]
                    mode = str(said.get("mode") or "") if isinstance(said, dict) else ""
            if raw:
                yield _found(json_tree.read(b"[" + raw.encode() + b"]")[0][0], raw.encode(), mode)


def _found(tree: object, raw: bytes, mode: str) -> Found | None:
    if not isinstance(tree, dict) or not isinstance(kind := tree.get("resourceType"), str):
        return None
    meta = tree.get("meta")
    said = meta if isinstance(meta, dict) else {}
    identity, version = str(tree.get("id") or ""), str(said.get("versionId") or "")
    return Found(
        type=kind,
        id=identity if _ID.fullmatch(identity) else "",
        version=version if _ID.fullmatch(version) else "",
        updated_us=micros(said.get("lastUpdated")),
        mode=mode,
        raw=raw,
        tree=tree,
    )
