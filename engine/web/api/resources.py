"""The table of what can be read: what features declare, and what is of no feature: for each address its permissions,
and the function of `engine.web.api.reads`. That module is imported once there is a request."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from operator import itemgetter

from engine.model.site.permissions import ADMINISTERING
from engine.views.copies import COPY
from engine.views.messages import DELIVERY, MESSAGE
from engine.views.site import PAUSE, STORED_LANE
from engine.web.api.lists import DECLARED, Resource

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
OF_NO_FEATURE: Sequence[Resource] = (
    Resource("/status", "the state of the site, as `labrelay status`", "status", in_memory=True, place=10),
    Resource("/channels", "each channel now", "channels", in_memory=True),
    Resource("/destinations", "each destination now", "destinations", in_memory=True),
    Resource("/version", "versions of the program and its parts", "version"),
    Resource("/messages", "messages, newest first", "messages", MESSAGE, key="id", place=20),
    Resource(
        "/message-search",
        "messages as above, asked by POST, so that no number is in an address; also by a patient's number",
        "message_search",
        MESSAGE,
        key="id",
        of_post=True,
    ),
    Resource("/messages/{message}", "one message with its states, documents, deliveries, attempts and acts", "message"),
    Resource(
        "/messages/{message}/deliveries",
        "the deliveries of one message, each with its failed attempts",
        "deliveries",
        DELIVERY,
    ),
    Resource("/messages/{message}/wire", "the frames of one message on the line, in and out, masked", "wire"),
    Resource(
        "/lanes", "waiting, held and dead deliveries of each channel and destination", "lanes", STORED_LANE, place=70
    ),
    Resource("/pauses", "pauses that a person has set", "pauses", PAUSE, place=90),
    Resource(
        "/acts",
        "the audit trail, newest first; a person's reasons may name a patient",
        "acts",
        needs=ADMINISTERING,
        place=140,
    ),
    Resource("/backups", "copies of the journal", "backups", COPY, needs=ADMINISTERING),
)


@cache
def resources() -> Sequence[Resource]:
    """All, by their places in documents."""
    found = []
    for declared in (OF_NO_FEATURE, *DECLARED.each()):
        place = 0
        for one in declared:
            place = one.place or place
            found.append((place, one))
    return tuple(one for _, one in sorted(found, key=itemgetter(0)))
