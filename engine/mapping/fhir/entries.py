"""Entries of a Bundle. Of a message with many, those made first are kept as the JSON that they will be, compressed: a
twentieth of the memory that their objects take. One that something is added to becomes an object again.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import orjson
from orjson import Fragment

from engine.mapping.values.json_text import with_digits
from engine.model.packing import pack_parts, unpack

Json = dict[str, Any]

WRITTEN_FROM = 1024  # entries; a message with fewer writes none before the whole
WRITTEN_AT_ONCE = 512  # ... and as many of the last ones stay objects, as do as many that were opened
BLOCK_BYTES = 64 * 1024  # of JSON, compressed together: to open one entry unpacks as much, or the entry itself
_READ = "Bundle"  # a resource whose elements become those of the document's own Bundle


class Written(NamedTuple):
    """An entry as JSON.

    Attributes:
        own: its request is one under our own id.
        block: the JSON of entries that were written together, compressed; this one has ``start`` to ``end`` of it.
    """

    url: str
    kind: str
    own: bool
    block: bytes
    start: int
    end: int

    @property
    def text(self) -> bytes:
        return _whole(self.block)[self.start : self.end]


Entry = Json | Written
_GONE: Entry = {}


@lru_cache(maxsize=1)
def _whole(block: bytes) -> bytes:
    """Its entries are read one after the other."""
    return unpack(block)


def kind_of(entry: Entry) -> str:
    """Its type of resource."""
    if isinstance(entry, Written):
        return entry.kind
    return str(entry["resource"]["resourceType"])


def url_of(entry: Entry) -> str:
    url: str = entry.url if isinstance(entry, Written) else entry["fullUrl"]
    return url


def is_own(entry: Entry) -> bool:
    """Whether it is written under our own id."""
    return entry.own if isinstance(entry, Written) else isinstance(entry.get("request"), Fragment)


def write(entries: list[Entry], places: Iterable[int]) -> None:
    """Make JSON of some entries; a resource that is still to be read stays an object."""
    texts: list[bytes] = []
    at_hand: list[int] = []
    size = 0
    for at in places:
        if kind_of(entries[at]) == _READ:
            continue
        texts.append(orjson.dumps(opened(entries[at])))
        at_hand.append(at)
        size += len(texts[-1])
        if size >= BLOCK_BYTES:
            _keep(entries, at_hand, texts)
            texts, at_hand, size = [], [], 0
    if texts:
        _keep(entries, at_hand, texts)


def _keep(entries: list[Entry], places: list[int], texts: list[bytes]) -> None:
    block = pack_parts(texts, sum(map(len, texts)))
    before = 0
    for at, text in zip(places, texts, strict=True):
        entry, after = entries[at], before + len(text)
        entries[at] = Written(url_of(entry), kind_of(entry), is_own(entry), block, before, after)
        before = after


def opened(entry: Entry) -> Json:
    """As an object, with each number as it is written."""
    if not isinstance(entry, Written):
        return entry
    found: Json = with_digits(entry.text)
    if entry.own:
        found["request"] = Fragment(orjson.dumps(found["request"]))
    return found


def parts(bundle: Json, entries: list[Entry], *, last: bool) -> Iterator[bytes]:
    """The JSON of a Bundle with these entries, in pieces.

    Args:
        last: they are not read again: each one is freed as soon as it was given.
    """
    before = b"{"
    for name, value in bundle.items():
        yield before + orjson.dumps(name) + b":"
        before = b","
        if value is not entries:
            yield orjson.dumps(value)
            continue
        for at, entry in enumerate(entries):
            if last:
                entries[at] = _GONE
            yield b"," if at else b"["
            yield entry.text if isinstance(entry, Written) else orjson.dumps(entry)
        yield b"]"
    yield b"}"
    if last:
        _whole.cache_clear()  # a message's texts are not kept behind it
