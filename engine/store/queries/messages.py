"""Read messages: pages of them, and the trace of one, from its frames to the attempts of its deliveries.

Lists are paged by key and never read bodies; without the key they show only unsealed columns.

The neighbours of a message in a list of messages, and its place there.
"""

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, cast

import orjson

from engine.model.content.tested_results import tests_in
from engine.model.errors import IntegrityError, TooSlowError
from engine.model.journal import records
from engine.model.journal.document_facts import facts_from
from engine.model.journal.journal_views import AttemptView, DeliveryView, DocumentView, Filter, MessageView, Trace
from engine.store.core.connecting import Execute
from engine.store.core.notes import read_note
from engine.store.core.vault import Vault
from engine.store.operations import search_index
from engine.store.queries import listing
from engine.store.queries.lanes import list_channels
from engine.store.queries.reader import Reader

_DELIVERY = (
    "SELECT d.id, l.channel, l.destination, d.seq, d.message_id, d.document_id, d.key, d.state, d.attempt,"
    " d.not_before_us, d.cause, d.flags, d.settled_us, d.detail FROM delivery d JOIN lane l ON l.id = d.lane"
)


OPENED_AT_ONCE = 50  # messages whose documents are opened in one short transaction
IDS_AT_ONCE = 500
_ENDS = {"sending": "waiting", "superseded": "delivered"}
_ORDER = ("waiting", "held", "dead", "dismissed", "rejected", "delivered", "superseded")


def messages_page(
    reader: Reader,
    wanted: Filter | None = None,
    *,
    before_id: int | None = None,
    limit: int = 50,
    within_s: float | None = None,
) -> list[MessageView]:
    """A page of messages, newest first. With a test in the filter, the documents of all messages that fit otherwise are
    opened until the page is full, a few messages at a time.

    Args:
        before_id: the last id of the page before.
        within_s: how long the documents of messages may be opened, in all; None: as long as it takes.

    Raises:
        TooSlowError: it would take longer.
    """
    wanted = wanted or Filter()
    ends_at = None if within_s is None else time.monotonic() + within_s
    tests = wanted.test_code is not None or wanted.loinc is not None
    found: list[MessageView] = []
    while len(found) < limit:
        many = OPENED_AT_ONCE if tests else limit
        with reader.snapshot() as execute:
            rows = listing.rows(execute, lambda: reader.vault, wanted, before_id, many)
        views = [_message(reader, row) for row in rows]
        fit = _with_test(reader, [view.id for view in views], wanted) if tests else {view.id for view in views}
        found += [view for view in views if view.id in fit]
        if len(rows) < many:
            break
        if ends_at is not None and time.monotonic() > ends_at and len(found) < limit:
            raise TooSlowError(f"opening the documents took longer than {within_s:g} s; narrow it")
        before_id = views[-1].id
    return found[:limit]


def with_control_id(
    reader: Reader, wanted: Filter, control_id: str, *, before_id: int | None = None, limit: int = 50
) -> list[MessageView]:
    """As `messages_page`, with this control id. The index of numbers has those alone that were mapped; of the others a
    control id is known within their channel.
    """
    found = messages_page(reader, replace(wanted, number=control_id), before_id=before_id, limit=limit)
    for channel in [one.name for one in list_channels(reader)] if wanted.channel is None else [wanted.channel]:
        of_channel = replace(wanted, number=None, channel=channel, control_id=control_id)
        found += messages_page(reader, of_channel, before_id=before_id, limit=limit)
    return sorted({view.id: view for view in found}.values(), key=lambda view: -view.id)[:limit]


def count_messages(
    reader: Reader, wanted: Filter, *, most: int, before_id: int | None = None, after_id: int = 0
) -> int:
    """How many messages all pages of `messages_page` have, up to ``most``. A test in the filter is left aside.

    Args:
        before_id, after_id: only messages with a number between them.
    """
    with reader.snapshot() as execute:
        return listing.count(execute, lambda: reader.vault, wanted, most, before_id=before_id, after_id=after_id)


def each_message(
    reader: Reader, wanted: Filter, *, before_id: int | None = None, at_once: int = 200
) -> Iterator[MessageView]:
    """All messages, newest first, read ``at_once`` at a time. ``before_id``: as of `messages_page`."""
    while page := messages_page(reader, wanted, before_id=before_id, limit=at_once):
        before_id = page[-1].id
        yield from page


def message_if(reader: Reader, wanted: Filter, number: int) -> MessageView | None:
    """The message of this number; None where there is none, or it does not fit."""
    page = messages_page(reader, wanted, before_id=number + 1, limit=1)
    return page[0] if page and page[0].id == number else None


def _with_test(reader: Reader, message_ids: Sequence[int], wanted: Filter) -> set[int]:
    """Those of some messages with a result under the code and LOINC of the filter. Where no document shows its results
    (JSON, CSV, none at all), the received message is searched. Damaged messages are included, since their results are
    unknown.

    Raises:
        ConfigError: the keys were not found.
    """
    if not message_ids:
        return set()
    found: set[int] = set()
    left = set(message_ids)  # messages without a document that shows its results

    def search(message_id: int, column: str, row_id: int, channel: str, sealed: bytes) -> None:
        if message_id in found:
            return
        try:
            results = tests_in(reader.vault.open(sealed, column, row_id, channel), str)
        except IntegrityError:
            found.add(message_id)
            return
        if results:
            left.discard(message_id)
        if any(
            (wanted.test_code is None or wanted.test_code in one.codes)
            and (wanted.loinc is None or wanted.loinc == one.loinc)
            for one in results
        ):
            found.add(message_id)

    with reader.snapshot() as execute:
        for row_id, message_id, channel, sealed in execute(
            "SELECT o.id, o.message_id, j.channel, o.body FROM document o JOIN journal j ON j.id = o.message_id"  # noqa: S608 - constants
            f" WHERE o.message_id IN ({','.join('?' * len(message_ids))})",
            message_ids,
        ):
            search(message_id, "document", row_id, channel, sealed)
        others = sorted(left - found)
        for row_id, channel, sealed in execute(
            f"SELECT id, channel, body FROM journal WHERE id IN ({','.join('?' * len(others))})",  # noqa: S608 - constants
            others,
        ):
            search(row_id, "body", row_id, channel, sealed)
    return found


def ends_of(reader: Reader, message_ids: Sequence[int]) -> dict[int, str]:
    """The overall state of the deliveries of some messages: ``waiting`` where one waits or is under way, else ``held``,
    ``dead``, a person's decision, or ``delivered``. Messages without deliveries are left out.
    """
    return {number: worst(lanes.values()) for number, lanes in lane_ends_of(reader, message_ids).items()}


def worst(ends: Iterable[str]) -> str:
    """The state of several deliveries together, as `ends_of` says it."""
    return min(ends, key=_ORDER.index)


def lane_ends_of(reader: Reader, message_ids: Sequence[int]) -> dict[int, dict[str, str]]:
    """As `ends_of`, for each destination of a message by itself, in the order of their names."""
    found: dict[int, dict[str, str]] = {}
    with reader.snapshot() as execute:
        for at in range(0, len(message_ids), IDS_AT_ONCE):
            part = message_ids[at : at + IDS_AT_ONCE]
            those = f"message_id IN ({','.join('?' * len(part))})"
            rows = execute(
                "SELECT DISTINCT d.message_id, l.destination, d.state"  # noqa: S608 - constants
                f" FROM delivery d CROSS JOIN lane l ON l.id = d.lane WHERE {those}",
                part,
            ).fetchall()
            for message_id, destination, state in sorted(rows):
                state = _ENDS.get(state, state)
                lanes = found.setdefault(message_id, {})
                lanes[destination] = worst((state, lanes.get(destination, state)))
    return found


def not_all_numbers(reader: Reader) -> int:
    """The number of messages with numbers that are not in the search index."""
    with reader.snapshot() as execute:
        return len(search_index.not_all_known(execute, reader.vault))


def trace_of(reader: Reader, message_id: int) -> Trace | None:
    """Everything about one message but its payload; None if there is no such message.

    Raises:
        ConfigError, IntegrityError: a sealed note cannot be opened.
    """
    with reader.snapshot() as execute:
        row = execute(
            f"SELECT {listing.COLUMNS} FROM {listing.BY_JOURNAL} WHERE j.id = ? AND j.kind = 1",  # noqa: S608 - constants
            (message_id,),
        ).fetchone()
        if row is None:
            return None
        session, mapping, config, at_us, detail = execute(
            "SELECT j.session, s.mapping, s.config, s.at_us, s.detail FROM journal j"
            " LEFT JOIN message_state s ON s.id = j.id WHERE j.id = ?",
            (message_id,),
        ).fetchone()
        documents = execute(
            "SELECT id, ordinal, media_type, length(body) FROM document WHERE message_id = ? ORDER BY id", (message_id,)
        ).fetchall()
        deliveries, attempts = _delivery_rows(execute, (message_id,))
        view = _message(reader, row)
        frames = _frames(reader, execute, row, session)
        edited_from, edited_as = execute(
            "SELECT coalesce((SELECT original FROM edited WHERE message_id = ?1), 0),"
            " coalesce((SELECT message_id FROM edited WHERE original = ?1), 0)",
            (message_id,),
        ).fetchone()
        again = None
        if view.state == "incomplete":
            again = execute("SELECT times, last_us FROM unfinished WHERE message_id = ?", (message_id,)).fetchone()
    note = orjson.loads(reader.note(detail, "message_state", message_id, view.channel) or b"{}")
    return Trace(
        message=view,
        session=session,
        frames=frames,
        mapping=mapping or "",
        config=f"{config:012x}" if config else "",
        processed_us=at_us or 0,
        detail=note.get("detail", ""),
        issues=tuple(note.get("issues", ())),
        facts={int(place): facts_from(said) for place, said in note.get("facts", {}).items()},
        documents=tuple(DocumentView(id=r[0], ordinal=r[1], media_type=r[2], stored_bytes=r[3]) for r in documents),
        deliveries=tuple(_delivery(reader, row, attempts.get(row[0], ())) for row in deliveries),
        edited_from=edited_from,
        edited_as=edited_as,
        times=again[0] if again is not None else 1,
        last_us=again[1] if again is not None else view.received_us,
    )


def deliveries_of(reader: Reader, message_ids: Sequence[int], *, notes: bool = False) -> list[DeliveryView]:
    """The deliveries of some messages (at most a few hundred), with their failed attempts, oldest first.

    Args:
        notes: include the sealed parts: details, and the destinations' answers.

    Raises:
        ConfigError, IntegrityError: a sealed note cannot be opened.
    """
    with reader.snapshot() as execute:
        rows, attempts = _delivery_rows(execute, message_ids, notes=notes)
    return [_delivery(reader, row, attempts.get(row[0], ())) for row in rows]


def waiting_deliveries(
    reader: Reader, *, channel: str | None = None, destination: str | None = None, after_id: int = 0, limit: int = 50
) -> list[DeliveryView]:
    """A page of deliveries that wait or are under way, oldest first, without their notes.

    Args:
        after_id: the last delivery of the page before.
    """
    rows: list[Any] = []
    with reader.snapshot() as execute:
        for lane in _lanes(execute, channel, destination):
            for state in ("waiting", "sending"):
                # Word for word as in the indexes. Within a lane numbers follow the order.
                rows += execute(
                    f"{_DELIVERY} WHERE d.state = '{state}' AND d.lane = ? AND d.id > ? ORDER BY d.seq LIMIT ?",
                    (lane, after_id, limit),
                )
    return [_delivery(reader, (*row, b""), ()) for *row, _ in sorted(rows)[:limit]]


def count_waiting(reader: Reader, *, channel: str | None = None, destination: str | None = None) -> int:
    """How many deliveries all pages of `waiting_deliveries` have; each lane keeps its number."""
    with reader.snapshot() as execute:
        lanes = _lanes(execute, channel, destination)
        return sum(execute("SELECT open FROM lane WHERE id = ?", (lane,)).fetchone()[0] for lane in lanes)


def _lanes(execute: Execute, channel: str | None, destination: str | None) -> list[int]:
    rows = execute(
        "SELECT id FROM lane WHERE (?1 IS NULL OR channel = ?1) AND (?2 IS NULL OR destination = ?2)",
        (channel, destination),
    )
    return [row[0] for row in rows]


def _delivery_rows(
    execute: Execute, message_ids: Sequence[int], *, notes: bool = True
) -> tuple[list[Any], dict[int, list[Any]]]:
    """The rows of some messages' deliveries, and delivery -> the rows of its attempts; ``notes``: with sealed parts."""
    those = f"d.message_id IN ({','.join('?' * len(message_ids))})"
    rows = execute(f"{_DELIVERY} WHERE {those} ORDER BY d.id", message_ids).fetchall()
    attempts: dict[int, list[Any]] = {}
    tried = execute(
        "SELECT a.delivery, a.n, a.at_us, a.cause, a.detail FROM delivery d"  # noqa: S608 - constants
        f" JOIN attempt a ON a.delivery = d.id WHERE {those}",
        message_ids,
    ).fetchall()
    for delivery, *attempt, sealed in sorted(tried):
        attempts.setdefault(delivery, []).append((*attempt, sealed if notes else b""))
    return rows if notes else [(*row, b"") for *row, _ in rows], attempts


def lanes_of(reader: Reader, message_id: int) -> set[tuple[str, str]]:
    """The channel and destinations of a message's deliveries."""
    return set(
        reader.rows(
            "SELECT DISTINCT l.channel, l.destination FROM delivery d JOIN lane l ON l.id = d.lane"
            " WHERE d.message_id = ?",
            (message_id,),
        )
    )


def sent_among(
    reader: Reader, message_ids: Sequence[int], states: Collection[str], destination: str | None
) -> dict[int, int]:
    """Those of some messages (at most a few hundred) with a delivery in one of ``states``; and since when.

    Args:
        destination: only deliveries to this one.
    """
    ids, marks = ",".join("?" * len(message_ids)), ",".join("?" * len(states))
    rows = reader.rows(
        "SELECT d.message_id, min(d.settled_us) FROM delivery d JOIN lane l ON l.id = d.lane"  # noqa: S608 - constants
        f" WHERE d.message_id IN ({ids}) AND d.state IN ({marks}) AND (? IS NULL OR l.destination = ?)"
        " GROUP BY d.message_id",
        (*message_ids, *states, destination, destination),
    )
    return dict(rows)


def _message(reader: Reader, row: Sequence[Any]) -> MessageView:
    row_id, channel, seq, received_us, message_type, size, state, reason, sealed = row
    meta = _meta(reader, sealed, row_id, channel) if reader.keys is not None else {}
    return MessageView(
        id=row_id,
        channel=channel,
        seq=seq,
        received_us=received_us,
        message_type=message_type,
        size=size,
        state=cast("records.MessageState", state or "stored"),
        reason=reason or "",
        control_id=meta.get("id", ""),
        peer=meta.get("peer", ""),
        notes=("erased",) if "erased" in meta else tuple(meta.get("notes", ())),
        repeat_of=meta.get("repeat_of"),
        equal_to=meta.get("equal_to"),
        same_id_other_bytes=meta.get("other_bytes", False),
    )


def _meta(reader: Reader, sealed: bytes, row_id: int, channel: str) -> dict[str, Any]:
    try:
        return cast("dict[str, Any]", orjson.loads(reader.vault.open(sealed, "meta", row_id, channel)))
    except IntegrityError:
        return {"notes": ("damaged",)}  # the list goes on; `labrelay verify` reports the damage


def _frames(reader: Reader, execute: Execute, row: Sequence[Any], session: int) -> tuple[int, ...]:
    if not session or reader.keys is None:
        return ()
    first, last = _meta(reader, row[8], row[0], row[1]).get("frames", (0, -1))
    rows = execute(
        "SELECT id FROM journal WHERE id BETWEEN ? AND ? AND kind = ? AND session = ?",
        (first, last, records.KIND_FRAME, session),
    )
    return tuple(found[0] for found in rows)


def _delivery(reader: Reader, row: Sequence[Any], attempts: Sequence[Any]) -> DeliveryView:
    (row_id, channel, destination, seq, message_id, document_id, key, state, attempt, not_before_us, cause, flags,
     settled_us, sealed) = row  # fmt: skip
    detail, answer = read_note(reader.note(sealed, "delivery", row_id, channel))
    return DeliveryView(
        id=row_id,
        channel=channel,
        destination=destination,
        seq=seq,
        message_id=message_id,
        document_id=document_id,
        key=key.hex(),
        state=state,
        attempt=attempt,
        not_before_us=not_before_us,
        cause=cause,
        maybe_delivered=bool(flags & records.MAYBE_DELIVERED),
        manual=bool(flags & records.MANUAL),
        settled_us=settled_us,
        detail=detail,
        answer=answer,
        attempts=tuple(_attempt(reader, tried, row_id, channel) for tried in attempts),
    )


def _attempt(reader: Reader, row: Sequence[Any], delivery_id: int, channel: str) -> AttemptView:
    n, at_us, cause, sealed = row
    detail, answer = read_note(reader.note(sealed, f"attempt {n}", delivery_id, channel))
    return AttemptView(n=n, at_us=at_us, cause=cause, detail=detail, answer=answer)


class Neighbours(NamedTuple):
    """Where a message is among those of a filter.

    Attributes:
        place: from 1, the newest first; 0: it does not fit the filter, or too many are newer.
        total: how many fit.
        newer, older: the next ones; 0: there is none, or too many are newer.
    """

    place: int
    total: int
    newer: int
    older: int


def neighbours_of(reader: Reader, wanted: Filter, message: int, *, top: int, most: int) -> Neighbours:
    """Raises as `count_messages`.

    Args:
        top: the newest message that counts.
        most: how many are counted.
    """

    def vault() -> Vault:
        return reader.vault

    with reader.snapshot() as execute:
        total = listing.count(execute, vault, wanted, most, before_id=top + 1, after_id=0)
        newer = listing.numbers(execute, vault, wanted, most, before_id=top + 1, after_id=message)
        own_and_older = listing.numbers(execute, vault, wanted, 2, before_id=message + 1)
    fits = message in own_and_older
    older = [number for number in own_and_older if number != message]
    if len(newer) == most:
        return Neighbours(0, total, 0, older[0] if older else 0)
    return Neighbours(len(newer) + 1 if fits else 0, total, newer[-1] if newer else 0, older[0] if older else 0)
