"""Decisions about the documents of a stored message (`engine.model.journal.document_facts`), in words and as JSON;
without values.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from engine.model.content.list_form import Form
from engine.model.journal.document_facts import DocumentFacts
from engine.model.message import Document
from engine.model.orders import item_id
from engine.model.texts.reasons import ReasonCode
from engine.succession.kinds import open_of
from engine.succession.statements import Resource, resources_in
from engine.views.view import plural

Json = dict[str, Any]

ECHO = f"accepted before just so ({ReasonCode.ECHO.value})"
WAITS = f"in a document of its own, for a person ({ReasonCode.CONTROL_FAILED.value})"
CORRECTS = "the id of what it corrects"
APART = "an id of its own: the number was given again, to another specimen"
ANEW = "a report of another message, written anew: it lists a result that changes"
FINISHED = "a preliminary result of another message, final now: its value was not sent again"
OF_ORDER = "of the order on the worklist that it is a result of"
GONE = "a result of another message, withdrawn: its report is sent as a whole and lacks it now"
_NOTHING_NEW = f"it says nothing that was not accepted before ({ReasonCode.ECHO.value})"

_WHAT = {"DiagnosticReport": "report", "Composition": "document"}


def decided(facts: DocumentFacts, document: Document | None = None, form: Form | None = None) -> Json:
    """The decisions about one document, without values.

    Args:
        document: as the mapping makes it, if it is known: then tests and the senders' statuses are included, too.
        form: for CSV and JSON, the places of the results.
    """
    known = _known(facts, document, form)

    def told(name: str) -> Json:
        return {"resource": name, "tests": _tests(known[name]) if name in known else []}

    return {
        "orders": [item_id(number) for number in sorted({one["item"] for one in facts.orders if "item" in one})],
        "not_sent": _NOTHING_NEW if facts.not_sent else None,
        "not_compared": facts.not_compared or None,
        "left_out": [{**told(name), "why": ECHO} for name in sorted(facts.echoes | facts.absent)],
        "waits": [{**told(name), "why": WAITS} for name in sorted(facts.waits)],
        "statuses": [
            {**told(name), "status": status, "sender": known[name].said if name in known else None,
             "why": why_status(name, status)}
            for name, status in facts.statuses.items()
        ],
        "apart": [{"id": new, "made": old, "why": APART} for old, new in facts.apart.items()],
        "corrects": [
            {"id": new, "made": old, "why": CORRECTS} for old, new in facts.corrects.items()
        ],
        "reports": [
            {"resource": one.name, "tests": _tests(one), "status": one.status, "sender": one.said, "why": ANEW}
            for one in _anew(facts.reports, "DiagnosticReport")
        ],
        "finished": [
            {"resource": one.name, "tests": _tests(one), "status": one.status, "why": FINISHED}
            for one in _anew(facts.finished, "Observation")
        ],
        "withdrawn": [
            {"resource": one.name, "tests": _tests(one), "status": one.status, "sender": one.said, "why": GONE}
            for one in _anew(facts.withdrawn, "Observation")
        ],
    }  # fmt: skip


def _of_all(said: Json) -> Iterator[str]:
    if said["not_sent"]:
        yield f"not sent: {said['not_sent']}"
    if said["not_compared"]:
        yield f"held, not compared: {said['not_compared']} ({ReasonCode.NOT_COMPARED.value})"


def lines(said: Json) -> Iterator[str]:
    """The decisions as text, a line for each resource."""
    yield from _of_all(said)
    if said["orders"]:
        yield f"orders: it names the orders of its results: {', '.join(said['orders'])}"
    yield from (f"left out: {_called(one)}: {one['why']}" for one in said["left_out"])
    yield from (f"waits: {_called(one)}: {one['why']}" for one in said["waits"])
    for one in said["statuses"]:
        sender = f", and not as the sender's {one['sender']}" if one["sender"] else ""
        yield f"status: {_called(one)} goes out as {one['status']}{sender}: {one['why']}"
    for one in (*said["apart"], *said["corrects"]):
        yield f"id: {one['id']} in place of {one['made']}: {one['why']}"
    yield from (f"report: {_called(one)} goes out as {one['status']}: {one['why']}" for one in said["reports"])
    yield from (f"final: {_called(one)}: {one['why']}" for one in said["finished"])
    yield from (f"withdrawn: {_called(one)}: {one['why']}" for one in said["withdrawn"])


def counted(said: Json) -> Iterator[str]:
    """The decisions as counts."""
    yield from _of_all(said)
    if said["orders"]:
        yield f"it names {plural(len(said['orders']), 'order')} of its results"
    if said["left_out"]:
        yield f"{plural(len(said['left_out']), 'result')} left out: {ECHO}"
    if said["waits"]:
        yield f"{plural(len(said['waits']), 'result')} {WAITS}"
    out = Counter((one["resource"].partition("/")[0], one["status"]) for one in said["statuses"])
    for (kind, status), count in out.items():
        what = _WHAT.get(kind, "result")
        yield f"{plural(count, what)} {'goes' if count == 1 else 'go'} out as {status}"
    for name, what in (("apart", APART), ("corrects", CORRECTS)):
        if count := len(said[name]):
            yield f"{plural(count, 'resource')} {'has' if count == 1 else 'have'} {what}"
    for name, noun, what in (
        *(("reports", "report", "written anew"), ("finished", "result", "final now")),
        ("withdrawn", "result", "withdrawn"),
    ):
        if said[name]:
            yield f"{plural(len(said[name]), noun)} of other messages {what}"


def why_status(name: str, status: str) -> str:
    """Why a resource has a status that is not its sender's."""
    if name.startswith(tuple(_WHAT)):
        return "it, or a result that it lists, changes what was accepted before"
    if status == "amended":
        return "a final result with other content was accepted before"
    return "an earlier mapping of this message delivered it with another meaning"


def _known(facts: DocumentFacts, document: Document | None, form: Form | None) -> Mapping[str, Resource]:
    """The resources of a document by the names under which they are sent."""
    try:
        found = None if document is None else open_of(document, form)
    except ValueError:
        found = None
    made = [(one, facts.apart.get(one.identity, one.identity)) for one in (() if found is None else found.resources)]
    return {f"{one.kind}/{facts.corrects.get(identity, identity)}": one for one, identity in made}


def _anew(written: Iterable[str], kind: str) -> list[Resource]:
    return [one for text in written for one in resources_in({"entry": orjson.loads(text)}) if one.kind == kind]


def _tests(one: Resource) -> list[str]:
    return sorted({code.partition("|")[2] or code for code in one.codes})


def _called(one: Json) -> str:
    return f"{one['resource']} ({', '.join(one['tests'])})" if one["tests"] else str(one["resource"])
