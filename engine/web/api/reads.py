"""How each resource is read: functions of what was asked, to a document. They run in a thread, but for those of the
snapshot, which is in memory."""

import platform
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast, get_args, get_type_hints

from engine.model.errors import ProblemError
from engine.model.journal.journal_views import MessageView, Trace
from engine.model.journal.records import LaneView, Pause
from engine.model.site.permissions import SEEING_PATIENTS
from engine.store.queries.acts import acts_page, open_acts
from engine.store.queries.lanes import list_lanes, list_pauses
from engine.store.queries.listing import NO_LIMIT
from engine.store.queries.messages import ends_of, messages_page, trace_of, with_control_id
from engine.store.queries.reader import Reader, why_absent
from engine.store.recovery.backups.catalog import Copy, copies
from engine.views import message_in_full
from engine.views.trail import ACT, Entry, names_message, page_of
from engine.views.wire import wire_of
from engine.web.api import parameters, requests
from engine.web.api.lists import Asked, Document, Resource
from engine.web.api.parameters import MOST_NUMBERS, cursor_of, numbers_in

ACTS_WITHIN_S = 1.0  # then a page ends, full or not, and the next goes on

Function = Callable[[Asked[Any]], Any]


def function_of(read: str | Function) -> Function:
    """``read``: as of a `Resource`."""
    return cast(Function, globals()[read]) if isinstance(read, str) else read


def model_of(read: str | Function) -> type[parameters.Nothing]:
    """The model of the arguments of a function."""
    model: type[parameters.Nothing] = get_args(get_type_hints(function_of(read))["asked"])[0]
    return model


def arguments_of(read: str | Function, given: Mapping[str, Any], *, body: bool) -> parameters.Nothing:
    """Its arguments; raises as `engine.web.api.requests.arguments`."""
    return requests.arguments(model_of(read), given, body=body)


def document_of(one: Resource, asked: Asked[Any]) -> Document:
    read, view = function_of(one.read), one.view
    if view is None:
        return cast(Document, read(asked))
    if not one.key:
        return {view.name: view.rows(read(asked))}
    limit, cursor = asked.arguments.limit, asked.arguments.cursor
    before = numbers_in(cursor, view.name)[0] if cursor else None
    found = read(replace(asked, before=before, limit=limit if one.together else limit + 1))
    shown, more = (found, len(found) >= limit) if one.together else (found[:limit], len(found) > limit)
    return {view.name: view.rows(shown), "cursor": cursor_of(view.name, getattr(shown[-1], one.key)) if more else None}


# -- from memory -----------------------------------------------------------------------------------------------------


def status(asked: Asked[parameters.Nothing]) -> Document:
    return {"daemon": True, **asked.site}


def channels(asked: Asked[parameters.Nothing]) -> Document:
    return {"channels": asked.site["channels"]}


def destinations(asked: Asked[parameters.Nothing]) -> Document:
    return {"destinations": asked.site["destinations"]}


def version(asked: Asked[parameters.Nothing]) -> Document:
    return {
        "labrelay": asked.snapshot.version,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


# -- messages --------------------------------------------------------------------------------------------------------


def message_search(asked: Asked[parameters.MessageSearch]) -> Sequence[MessageView]:
    patient = asked.arguments.patient
    if patient is not None and not asked.principal.may(SEEING_PATIENTS):
        raise ProblemError("not-permitted", "a search for a patient needs the permission see-patients")
    return messages(asked, patient)


def messages(asked: Asked[parameters.Messages], patient: str | None = None) -> Sequence[MessageView]:
    given, journal = asked.arguments, asked.journal
    wanted = asked.filter(
        state=given.state, message_type=given.type, specimen=given.specimen, lot=given.lot, patient=patient
    )
    if given.control_id is None:
        found = messages_page(journal, wanted, before_id=asked.before, limit=asked.limit)
    else:
        found = with_control_id(journal, wanted, given.control_id, before_id=asked.before, limit=asked.limit)
    ends = ends_of(journal, [view.id for view in found])
    return [view._replace(end=ends.get(view.id, "")) for view in found]


def message(asked: Asked[parameters.OneMessage]) -> Document:
    """One message with all that became of it. A person's reasons may name a patient, so they are only for those who may
    see patients, or administer."""
    journal, number = asked.journal, asked.arguments.message
    trace = require_message(journal, number)
    trace = trace._replace(message=trace.message._replace(end=ends_of(journal, [number]).get(number, "")))
    acts = message_in_full.acts_about(journal, number)
    if not asked.principal.reads_reasons:
        trace = message_in_full.without_reasons(trace)
        acts = [{**act, "reason": ""} for act in acts]
    return {**message_in_full.document_of(trace, answers=False), "acts": acts}


def deliveries(asked: Asked[parameters.OneMessage]) -> Sequence[Document]:
    trace = require_message(asked.journal, asked.arguments.message)
    if not asked.principal.reads_reasons:
        trace = message_in_full.without_reasons(trace)
    found: Sequence[Document] = message_in_full.document_of(trace, answers=False)["deliveries"]
    return found


def wire(asked: Asked[parameters.OneMessage]) -> Document:
    return {"wire": wire_of(asked.journal, require_message(asked.journal, asked.arguments.message), masked=True)}


def require_message(journal: Reader, number: int) -> Trace:
    """
    Raises:
        StoreError: there is none; as `why_absent`.
    """
    trace = trace_of(journal, number)
    if trace is None:
        raise why_absent(journal, "message", number)
    return trace


def contents(journal: Reader, number: int) -> Document:
    """The bytes of a message and its documents; the reveal is recorded before it is called."""
    return message_in_full.contents_of(journal, require_message(journal, number))


def lanes(asked: Asked[parameters.Nothing]) -> Sequence[LaneView]:
    return list_lanes(asked.journal)


def pauses(asked: Asked[parameters.Nothing]) -> Sequence[Pause]:
    found = list_pauses(asked.journal)
    return found if asked.principal.reads_notes else [replace(one, reason="") for one in found]


# -- acts, copies ----------------------------------------------------------------------------------------------------


def acts(asked: Asked[parameters.Acts]) -> Document:
    """A page of the audit trail. An act's end comes before its beginning, so a cursor has the ends that were read and
    belong to acts of a later page. A page may be short, or empty, where few acts fit."""
    given, journal = asked.arguments, asked.journal
    after, until = asked.times()
    before, *known = numbers_in(given.cursor, "acts") if given.cursor else [NO_LIMIT]
    found, read_to, ends = page_of(
        partial(acts_page, journal),
        lambda entry: _fits(entry, given) and (until is None or entry.at_us < until),
        frozenset(act.id for act in open_acts(journal)),
        before=before,
        ends=[act for number in known for act in acts_page(journal, before_id=number + 1, limit=1) if act.ended],
        after_us=after,
        limit=given.limit,
        within_s=ACTS_WITHIN_S,
        most_ends=MOST_NUMBERS - 1,
    )
    cursor = None if read_to is None else cursor_of("acts", read_to, *(end.id for end in ends))
    return {ACT.name: ACT.rows(found), "cursor": cursor}


def _fits(entry: Entry, given: parameters.Acts) -> bool:
    return (
        given.actor in (None, entry.actor)
        and given.act in (None, entry.verb)
        and (given.message is None or names_message(entry, given.message))
    )


def backups(asked: Asked[parameters.Nothing]) -> Sequence[Copy]:
    folder = asked.sources.backups()
    shelves = sorted(folder.glob("labrelay-*")) if folder is not None else []
    return [copy for shelf in shelves for copy in copies(shelf)]
