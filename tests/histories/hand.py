"""Beside the program, in its interpreter: gives commands and reads the journal out. Told by JSON lines on stdin.

    {"do": "run", "site": FOLDER, "arguments": [...]}      -> {"code", "out", "err"}
    {"do": "read", "site": FOLDER, "channels": [...]}      -> {"messages": [...]}, oldest first; all where none is named
    {"do": "settled", "site": FOLDER}                      -> {"settled": true, "messages": number of the newest}

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
from engine.model.records import Filter
from engine.store.queries.contents import stored_document, stored_payload
from engine.store.queries.lanes import list_channels, list_lanes
from engine.store.queries.messages import messages_page, trace_of
from engine.store.queries.reader import Reader

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


def read(site: str, channels: list[str]) -> Json:
    found: list[Json] = []
    with _journal(site) as journal:
        for channel in channels or [None]:
            before = None
            while page := messages_page(journal, Filter(channel=channel), before_id=before, limit=500):
                found += [_message(journal, view) for view in page]
                before = page[-1].id
    return {"messages": sorted(found, key=lambda one: one["id"])}


def _message(journal: Any, view: Any) -> Json:
    trace = trace_of(journal, view.id)
    return {
        "id": view.id,
        "channel": view.channel,
        "state": view.state,
        "reason": view.reason,
        "detail": trace.detail,
        "payload": base64.b64encode(stored_payload(journal, view.id)).decode(),
        "documents": {one.id: stored_document(journal, one.id).decode() for one in trace.documents},
        "deliveries": [
            {"document": one.document_id, "state": one.state, "cause": one.cause, "detail": one.detail}
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
            case _:
                answer = settled(asked["site"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
