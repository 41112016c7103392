"""The audit trail in forms for people and other systems. Pure.

A longer action is two rows of the journal (begun, ended), a short one is one. Here each is one entry. Reasons are
people's own words, and so may name a patient although people are asked not to: exports say so.

FHIR: AuditEvent R4, with fields of the IHE ATNA profile where they fit; system and codes of the actions are our own.

Acts of the audit trail.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from engine.model.journal.journal_views import Act
from engine.model.process.clock import from_us
from engine.views.view import Field, View, at

ACTS_SYSTEM = "urn:labrelay:act"
REFUSED, DAMAGED = "refused", "damaged"
CUT_SHORT = frozenset(("interrupted", "configuration_changed", "abandoned"))  # outcomes
ROWS_AT_ONCE = 200  # read in one query
NUMBERS = ("message", "messages", "deliveries", "ids")
NAMED_BY_STEPS = ("dismiss", "release", "reject")

# https://hl7.org/fhir/R4/valueset-audit-event-action.html: read, update, delete, execute
_ACTIONS = {
    "unmask": "R",
    "search": "R",
    "key-shown": "R",
    "erase": "D",
    "edit": "U",
    "dismiss": "U",
    "reject": "U",
    "set-aside": "U",
    "accept-loss": "U",
    "salvage": "U",
}


def _type(code: str, display: str) -> dict[str, str]:
    return {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": code, "display": display}


# DICOM PS3.16, CID 400 and 401; an action that is not here is an activity of the application.
_LOG_IN, _ROLES = _type("110114", "User Authentication"), _type("110136", "Security Roles Changed")
_CREDENTIALS = _type("110137", "User Security Attributes Changed")
_TYPES = {
    **dict.fromkeys(("log-in", "log-in-refused", "log-out", "log-out-by-provider", "session-revoked"), _LOG_IN),
    **dict.fromkeys(("set-up", "user-added", "user-role", "user-grant", "user-removed"), _ROLES),
    **dict.fromkeys(("user-disabled", "user-enabled", "token-created", "token-exchanged", "token-revoked"), _ROLES),
    **dict.fromkeys(("user-password", "pin-set", "pin-removed", "second-factor-on", "second-factor-off"), _CREDENTIALS),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One action.

    Attributes:
        id: its number in the journal.
        state: ``done``, ``cut short`` (by a stop, or a change of the configuration; a person must look), ``open``, or
            ``refused``: a permission was missing, and nothing was done; or ``damaged``: a row that cannot be read, of
            an action or of its end.
        by, config: as `engine.model.journal.journal_views.Act` has them.
        ended_us: 0 where it was done at once, or has not ended.
    """

    id: int
    at_us: int
    actor: str
    verb: str
    what: Mapping[str, Any]
    state: str
    ended_us: int = 0
    outcome: Mapping[str, Any] = field(default_factory=dict)
    by: Mapping[str, str] = field(default_factory=dict)
    config: str = ""


def page_of(
    rows_of: Callable[..., Sequence[Act]],
    fits: Callable[[Entry], bool],
    open_acts: frozenset[int],
    *,
    before: int | None,
    ends: Sequence[Act],
    after_us: int | None,
    limit: int,
    within_s: float,
    most_ends: int,
) -> tuple[list[Entry], int | None, Sequence[Act]]:
    """Actions that fit, newest first; the number of the row that they were read to, None where there are no more; and
    the ends among these rows whose beginnings are still to come.

    Args:
        rows_of: as `engine.store.queries.acts.acts_page`.
        ends: of the page before, whose beginnings were still to come. ``most_ends``: so many of them at most.
        within_s: then the page ends, full or not.
    """
    found: list[Entry] = []
    due = time.monotonic() + within_s
    while True:
        rows = rows_of(before_id=before, limit=ROWS_AT_ONCE)
        for entry in entries(chain(ends, rows), open_acts):
            if after_us is not None and entry.at_us < after_us:
                return found, None, ()
            if fits(entry):
                found.append(entry)
            if len(found) == limit:
                return found, entry.id, _pending(ends, [row for row in rows if row.id >= entry.id])[:most_ends]
        if len(rows) < ROWS_AT_ONCE:
            return found, None, ()
        before, ends = rows[-1].id, _pending(ends, rows)[:most_ends]
        if time.monotonic() > due:
            return found, before, ends


def _pending(ends: Sequence[Act], rows: Sequence[Act]) -> list[Act]:
    """The ends whose beginnings are still to come; the newest acts under way are few."""
    begun = {row.id for row in rows}
    return [end for end in (*ends, *rows) if end.ended and end.ended not in begun]


def entries(rows: Iterable[Act], open_acts: frozenset[int]) -> Iterator[Entry]:
    """Actions with their ends, newest first.

    Args:
        rows: of the journal, newest first, up to the newest: an end comes before its beginning.
        open_acts: numbers of actions that have not ended.
    """
    ends: dict[int, Act] = {}
    for act in rows:
        if act.ended:
            ends[act.ended] = act
            continue
        end = ends.pop(act.id, None)
        outcome = end.what if end else {}
        state = "open" if act.id in open_acts else "cut short" if any(map(outcome.get, CUT_SHORT)) else "done"
        state = DAMAGED if act.damaged else REFUSED if act.verb.endswith(REFUSED) else state
        yield Entry(
            id=act.id,
            at_us=act.at_us,
            actor=act.actor,
            verb=act.verb,
            what=act.what,
            state=state,
            ended_us=end.at_us if end else 0,
            outcome=outcome,
            by=act.by,
            config=act.config,
        )


def audit_event(entry: Entry, site: str) -> dict[str, Any]:
    """A FHIR R4 AuditEvent. ``site``: the observer."""
    subtype = {"system": ACTS_SYSTEM, "code": entry.verb}
    event: dict[str, Any] = {
        "resourceType": "AuditEvent",
        "type": _TYPES.get(entry.verb, _type("110100", "Application Activity")),
        "subtype": [subtype],
        "action": _ACTIONS.get(entry.verb, "E"),
        "recorded": instant(entry.at_us),
        "agent": [_agent(entry)],
        "source": {"site": site, "observer": {"display": f"LabRelay at {site}"}},
        "entity": [_number("act", entry.id)],
    }
    if entry.ended_us:
        event["period"] = {"start": instant(entry.at_us), "end": instant(entry.ended_us)}
    if entry.state != "open":
        event["outcome"] = "0" if entry.state == "done" else "4"
    for name, value in entry.what.items():
        numbers = value if isinstance(value, list | tuple) else [value]
        if name in NUMBERS and all(isinstance(number, int) for number in numbers):
            event["entity"] += [_number(name.rstrip("s"), number) for number in numbers]
    details = [
        {"type": name, "valueString": str(value)}
        for name, value in {
            **entry.what,
            **entry.outcome,
            "config": entry.config,
            "as given": entry.by.get("given"),
        }.items()
        if name not in (*NUMBERS, "purpose") and value not in (None, "", [], {})
    ]
    if details:
        event["entity"][0]["detail"] = details
    return event


def _agent(entry: Entry) -> dict[str, Any]:
    agent: dict[str, Any] = {"who": {"display": entry.actor}, "requestor": True}
    if role := entry.by.get("role"):
        agent["role"] = [{"text": role}]
    if account := entry.by.get("account"):
        agent["altId"] = account
    if seat := entry.by.get("from"):
        agent["network"] = {"address": seat}
    if purpose := purpose_of(entry):
        agent["purposeOfUse"] = [{"text": purpose}]
    return agent


def names_message(entry: Entry, message: int) -> bool:
    """Whether an action names this message; one given by a filter names none. Of an operation that closes or releases
    letters the rows of its steps name them.
    """
    chosen = None if entry.verb in NAMED_BY_STEPS else entry.what.get("selection")
    named = [entry.what.get("message"), entry.what.get("messages"), entry.what.get("ids")]
    named.append(chosen.get("ids") if isinstance(chosen, dict) else None)
    return any(message == one or (isinstance(one, list) and message in one) for one in named)


def purpose_of(entry: Entry) -> str:
    """What a person looked at patient data for, in the person's words; of another act empty."""
    return str(entry.what.get("purpose") or "")


def shown_messages(entry: Entry) -> tuple[tuple[int, ...], Mapping[str, Any] | None]:
    """The messages whose contents an action showed to a person: by number, and the filter of an export, if it
    was one.
    """
    if entry.verb != "unmask":
        return (), None
    message, export = entry.what.get("message"), entry.what.get("export")
    if isinstance(export, dict) and export.get("deid"):
        return (), None  # without their patients
    return (message,) if isinstance(message, int) else (), export if isinstance(export, dict) else None


def instant(at_us: int) -> str:
    return from_us(at_us).isoformat(timespec="milliseconds")


def _number(kind: str, number: int) -> dict[str, Any]:
    return {"what": {"identifier": {"system": f"urn:labrelay:{kind}", "value": str(number)}}}


IN_WORDS = ("reason", "purpose")  # of a person; in a column of their own
LONGEST = 60  # signs of an object in a table

ACT = View[Entry](
    "acts",
    Field("id", "ID", right=True),
    Field("at", "AT", of=lambda one: instant(one.at_us), shown=at("at_us")),
    Field("actor", "WHO"),
    Field("role", of=lambda one: one.by.get("role", "")),
    Field("account", of=lambda one: one.by.get("account", "")),
    Field("from", "FROM", of=lambda one: one.by.get("from", "")),
    Field("given", of=lambda one: one.by.get("given", "")),
    Field("config"),
    Field("act", "ACT", of="verb"),
    Field("", "OBJECT", of=lambda one: about(one)),
    Field("state", "STATE"),
    Field("", "REASON", of=lambda one: reason(one) or purpose_of(one)),
    Field("ended", of=lambda one: instant(one.ended_us) if one.ended_us else None),
    Field("purpose", of=purpose_of),
    Field("what", of=lambda one: dict(one.what)),
    Field("outcome", of=lambda one: dict(one.outcome)),
)


def about(one: Entry) -> str:
    """The objects of an act, in one line."""
    text = _named({name: value for name, value in one.what.items() if name not in IN_WORDS})
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _named(values: Mapping[str, Any]) -> str:
    """Names with their values; a yes by its name alone, and no empty value."""
    return ", ".join(name if value is True else f"{name} {_value(value)}" for name, value in values.items() if value)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"({_named(value)})"
    return f"({', '.join(map(str, value))})" if isinstance(value, list | tuple) else str(value)


def reason(one: Entry) -> str:
    """In the person's words."""
    return str(one.what.get("reason") or "")
