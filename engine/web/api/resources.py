"""The table of what can be read: what features declare, and what is of no feature: for each address its permissions,
and the function of `engine.web.api.reads`. That module is imported once there is a request."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from operator import itemgetter

from engine.model.permissions import ADMINISTERING
from engine.web.api.lists import DECLARED, Readable, Resource

ROOT = "/api/v1"


@dataclass(frozen=True, slots=True)
class Question:
    """One address that a verb of the control socket answers, with the verb's own arguments and permissions."""

    path: str
    what: str
    verb: str


CONTENTS = "/messages/{message}/contents"
EVENTS = "/events"
QUESTIONS = (
    Question("/operations/{number}/wait", "why an operation under way waits just now", "operation_waits"),
    Question("/todo", "everything that waits for a person, worst first", "todo"),
)
OF_NO_FEATURE: Sequence[Readable] = (
    Resource(
        place=10,
        path="/status",
        what="the state of the site, as `labrelay status`",
        read="status",
        in_memory=True,
    ),
    Resource(path="/channels", what="each channel now", read="channels", in_memory=True),
    Resource(path="/destinations", what="each destination now", read="destinations", in_memory=True),
    Resource(path="/version", what="versions of the program and its parts", read="version"),
    Resource(
        place=20,
        path="/messages",
        what="messages, newest first",
        read="messages",
    ),
    Resource(
        path="/message-search",
        what="messages as above, asked by POST, so that no number is in an address; also by a patient's number",
        read="message_search",
        of_post=True,
    ),
    Resource(
        path="/messages/{message}",
        what="one message with its states, documents, deliveries, attempts and acts",
        read="message",
    ),
    Resource(
        path="/messages/{message}/deliveries",
        what="the deliveries of one message, each with its failed attempts",
        read="deliveries",
    ),
    Resource(
        path="/messages/{message}/wire",
        what="the frames of one message on the line, in and out, masked",
        read="wire",
    ),
    Resource(
        place=50,
        path="/gaps",
        what="codes and units that no code table has, as they were counted",
        read="gaps",
    ),
    Resource(
        path="/suggestions",
        what="suggestions of published sources for codes of the site's analyzers; unconfirmed: no mapping uses them",
        read="suggestions",
    ),
    Resource(
        path="/corrections",
        what="corrections of code tables, oldest first; of one key the newest decides",
        read="corrections",
    ),
    Resource(path="/reagents", what="reagent lots", read="reagents"),
    Resource(
        place=70, path="/lanes", what="waiting, held and dead deliveries of each channel and destination", read="lanes"
    ),
    *(
        Resource(
            path=f"/reports/{name}", what=f"the report on {what} of some days (docs/reports.md)", read=f"{name}_report"
        )
        for name, what in {
            "volume": "messages and results",
            "turnaround": "turnaround times",
            "utilisation": "the use of analyzers",
            "downtime": "downtime",
            "unmapped": "results whose code no table had",
        }.items()
    ),
    Resource(place=90, path="/pauses", what="pauses that a person has set", read="pauses"),
    Resource(path="/orders", what="orders for analyzers, newest first; no specimen, no patient", read="orders"),
    Resource(path="/orders/{item}", what="one order with each change of it", read="order"),
    Resource(
        path="/results-without-order",
        what="messages of two-way analyzers with results that no order is there for, newest first",
        read="results_without_order",
    ),
    Resource(
        path="/questions",
        what="questions of analyzers, newest first: which orders were given, or why none",
        read="questions",
    ),
    Resource(path="/alerts", what="alerts that are open, and those whose cause has not lasted yet", read="alerts"),
    Resource(
        path="/alerts/sent",
        what="lines sent of alerts, or waiting to be: to which sink, newest first",
        read="alerts_sent",
    ),
    Resource(
        path="/silences", what="silences of alerts that are in force, each with its owner and end", read="silences"
    ),
    Resource(
        path="/abdm/status",
        what="the state of each laboratory at ABDM, and whether all is well",
        read="abdm_status",
    ),
    Resource(
        path="/abdm/contexts",
        what="care contexts of ABDM, newest first; patients are masked",
        read="care_contexts",
    ),
    Resource(
        path="/abdm/contexts/{number}",
        what="one care context with its versions, the steps of its link, and what went to readers",
        read="care_context",
    ),
    Resource(path="/abdm/consents", what="consents of patients, newest first; patients are masked", read="consents"),
    Resource(
        path="/abdm/consents/{number}",
        what="one consent: what it allows, until when, and what was sent under it",
        read="consent",
    ),
    Resource(path="/abdm/transfers", what="requests for records, newest first", read="transfers"),
    Resource(
        place=140,
        path="/acts",
        what="the audit trail, newest first; a person's reasons may name a patient",
        read="acts",
        needs=ADMINISTERING,
    ),
    Resource(path="/backups", what="copies of the journal", read="backups", needs=ADMINISTERING),
)


@cache
def resources() -> Sequence[Readable]:
    """All, by their places in documents."""
    found = []
    for declared in (OF_NO_FEATURE, *DECLARED.each()):
        place = 0
        for one in declared:
            place = one.place or place
            found.append((place, one))
    return tuple(one for _, one in sorted(found, key=itemgetter(0)))
