"""Beside the program, in its interpreter: gives commands and reads the journal out. Told by JSON lines on stdin.

    {"do": "run", "site": FOLDER, "arguments": [...]}      -> {"code", "out", "err"}
    {"do": "read", "site": FOLDER, "channels": [...]}      -> {"messages": [...]}, oldest first; all where none is named
    {"do": "settled", "site": FOLDER}                      -> {"settled": true, "messages": number of the newest}
    {"do": "processed", "site": FOLDER, "channels": [...]} -> {"processed": true}: none of theirs waits to be mapped
    {"do": "alerts", "site": FOLDER}                       -> {"waiting": true}: a sink has not taken one yet
    {"do": "critical", "site": FOLDER}                     -> {"critical": {message: true}}: those that no person has
                                                              taken; false: it is so no more
    {"do": "orders", "site": FOLDER}                       -> {"items", "questions"}, oldest first, and "busy": whether
                                                              there is news of one to tell

It imports nothing of the checker, so that it runs in any checkout of the program.
"""

import base64
import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

from engine.__main__ import run
from engine.model.journal.journal_views import Filter
from engine.store.queries.lanes import list_channels, list_lanes
from engine.store.queries.messages import messages_page, trace_of
from engine.store.queries.reader import Reader, stored_document, stored_payload

Json = dict[str, Any]


def command(site: str, arguments: list[str]) -> Json:
    out, err, stdin = io.StringIO(), io.StringIO(), sys.stdin
    sys.stdin = io.StringIO("")
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = int(run(["--site", site, *arguments]))
    finally:
        sys.stdin = stdin
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}


@contextlib.contextmanager
def _journal(site: str) -> Any:
    journal = Reader.beside(Path(site) / "var")
    try:
        yield journal
    finally:
        journal.close()


def settled(site: str) -> Json:
    with _journal(site) as journal:
        busy = any(view.stored for view in list_channels(journal)) or any(view.open for view in list_lanes(journal))
        newest = messages_page(journal, Filter(), limit=1)
    return {"settled": not busy, "messages": newest[0].id if newest else 0}


def processed(site: str, channels: list[str]) -> Json:
    with _journal(site) as journal:
        return {"processed": not any(view.stored for view in list_channels(journal) if view.name in channels)}


def alerts(site: str) -> Json:
    from engine.features.alerts.rows.reading import unsent_since

    with _journal(site) as journal:
        return {"waiting": bool(unsent_since(journal, ()))}


def critical(site: str) -> Json:
    with _journal(site) as journal:
        return {"critical": critical_of(journal)}


def critical_of(journal: Any) -> dict[int, bool]:
    from engine.features.alerts.rows.reading import critical_values

    return {one.message: not one.over_us for one in critical_values(journal)}


def orders(site: str) -> Json:
    """Modules that an older version does not have are imported here."""
    from engine.features.orders.rows.announcing import has_notices
    from engine.features.orders.rows.order_questions import queries
    from engine.features.orders.rows.reading import ItemFilter, item, items

    with _journal(site) as journal:
        found = [item(journal, one.number) for one in items(journal, ItemFilter(), limit=1_000_000)]
        asked = queries(journal, limit=1_000_000)
        return {
            "busy": has_notices(journal),
            "items": [_item(one) for one in reversed(found) if one is not None],
            "questions": [
                {
                    "message": one.message_id, "channel": one.channel, "items": list(one.items), "open": one.open,
                    "ended": bool(one.ended_us), "outcome": one.outcome, "none": list(one.none),
                }
                for one in reversed(asked)
            ],
        }  # fmt: skip


def _item(found: Any) -> Json:
    one = found.item
    return {
        "number": one.number, "source": found.source, "placer": one.line.placer, "test": one.line.test,
        "named": getattr(one.line, "panel", "") or one.line.ordered or one.line.test, "tube": one.line.specimen,
        "patient": one.line.patient.number, "state": one.state.value,
        "reason": one.reason.value, "channel": one.channel,
        "events": [[event.event, event.state.value, event.message_id, event.late] for event in found.history],
    }  # fmt: skip


def read(site: str, channels: list[str]) -> Json:
    with _journal(site) as journal:
        return {"messages": messages_of(journal, channels)}


def messages_of(journal: Any, channels: list[str]) -> list[Json]:
    """Oldest first; of all channels where none is named."""
    found: list[Json] = []
    for channel in channels or [None]:
        before = None
        while page := messages_page(journal, Filter(channel=channel), before_id=before, limit=500):
            found += [_message(journal, view) for view in page]
            before = page[-1].id
    return sorted(found, key=lambda one: int(one["id"]))


def _message(journal: Any, view: Any) -> Json:
    trace = trace_of(journal, view.id)
    return {
        "id": view.id,
        "channel": view.channel,
        "state": view.state,
        "reason": view.reason,
        "detail": trace.detail,
        "issues": [str(issue.get("code", "")) for issue in trace.issues],
        "payload": base64.b64encode(stored_payload(journal, view.id)).decode(),
        "documents": {str(one.id): stored_document(journal, one.id).decode() for one in trace.documents},
        "deliveries": [
            {
                "document": one.document_id,
                "to": one.destination,
                "state": one.state,
                "cause": one.cause,
                "detail": one.detail,
            }
            for one in trace.deliveries
        ],
    }


def main() -> None:
    for line in iter(sys.stdin.readline, ""):
        asked = json.loads(line)
        match asked["do"]:
            case "run":
                answer = command(asked["site"], asked["arguments"])
            case "read":
                answer = read(asked["site"], asked["channels"])
            case "processed":
                answer = processed(asked["site"], asked["channels"])
            case "alerts":
                answer = alerts(asked["site"])
            case "critical":
                answer = critical(asked["site"])
            case "orders":
                answer = orders(asked["site"])
            case _:
                answer = settled(asked["site"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
