"""Results that LabRelay keeps back until a person decides: look at them, then release, reject or answer.

A result is held where it would withdraw an accepted one, where it may be another person's, or where a rule of its route
(`hold:`) says so (docs/held.md). Only a person releases a result, and gives the reason: no time, no restart, no retry
does. Who released or rejected what, and the reason, stays in the audit trail; a rejected result stays in the journal
and is never delivered.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import click

from engine.actions.selection import Selection, each_letter, held_results
from engine.commands.shared import selecting
from engine.commands.shared.acting import LEFT, NOTED_WITHIN_S, acting_verb, ask, purpose_option, stated
from engine.commands.shared.output import ExitCode, Form, form_option, say, show_document, show_rows
from engine.commands.shared.selecting import some_of
from engine.commands.shared.session import Session, consent, pass_session
from engine.features.results.lists import HELD, PERSON
from engine.features.results.lists.held_results import FLAGS, MOST_AT_ONCE, held_of, results_held
from engine.features.results.lists.saying import with_says
from engine.features.results.rows.succession import overtaken, overtaken_by
from engine.model.errors import ConfigError, RefusedError
from engine.model.journal.journal_views import DeadLetter
from engine.model.texts.reasons import ReasonCode, help_of
from engine.store.queries.letters import held_deliveries
from engine.store.queries.messages import trace_of
from engine.store.queries.reader import Reader, why_absent
from engine.store.queries.tallies import list_seeming
from engine.views.view import Head, plural, printable

if TYPE_CHECKING:
    from engine.config.channel import ChannelConfig

GROUP = "every day"

CODES = (
    ReasonCode.IDENTITY_CONFLICT, ReasonCode.HELD_BY_RULE, ReasonCode.HOLD_UNDECIDED, ReasonCode.HOLD_FAULT,
    ReasonCode.CONTROL_FAILED, ReasonCode.CONTROL_NUMBER, ReasonCode.STATUS_BACK, ReasonCode.OLDER_RESULT,
    ReasonCode.VALUE_GONE, ReasonCode.WITHDRAWN_BEFORE, ReasonCode.RESULTS_GONE, ReasonCode.REJECTED_BEFORE,
    ReasonCode.CORRECTS_UNKNOWN, ReasonCode.COMPUTED_BEFORE, ReasonCode.SAMPLE_UNKNOWN, ReasonCode.POOL,
    ReasonCode.CLOCK, ReasonCode.CHANGE_UNSAID, ReasonCode.NUMBER_AGAIN, ReasonCode.ORDER_MOVED,
    ReasonCode.NOT_COMPARED, ReasonCode.OVERTAKEN, ReasonCode.REJECTED,
)  # fmt: skip

_IF_RELEASED = {
    "no": "None of these results has been overtaken: a release sends it.",
    "part": "A release leaves it held: it would undo what is newer.",
    "whole": "Newer messages had all of these results delivered: a release closes it.",
}

_code = click.option(
    "--code",
    type=selecting.word([code.value for code in CODES]),
    shell_complete=some_of(code.value for code in CODES),
    metavar="CODE",
    help="Kept back for this: " + ", ".join(code.value for code in CODES[:-1]) + ".",
)
_COMPARED = {"same": "the same", "alike": "another spelling", "differs": "DIFFERS", "unknown": "not compared"}
_PERSON = {
    "same": "{n} held message{s}: of the person who bore the number before?",
    "other": "{n} held message{s}: of another person?",
    "withdraw": "Withdraw the first patient's result, and send this one?",
    "both": "Send this one, and leave the first patient's result?",
}


@click.group(help=__doc__)
def command() -> None:
    pass


@command.command("list", help="List held results, critical ones first, then the newest, and why each is held.")
@selecting.filter_options("channel", "destination", "since", "until")
@_code
@click.option("--rejected", is_flag=True, help="Those that were rejected instead.")
@selecting.page_options("message number")
@form_option()
@pass_session
def list_held(session: Session, /, rejected: bool, limit: int, before: int | None, form: Form, **given: Any) -> None:
    wanted = replace(selecting.filter_of(session, given), state="rejected" if rejected else None)
    with session.reader() as reader:
        found = held_deliveries(reader, wanted, before_id=before, limit=limit)
        cut = len(found) >= limit and held_deliveries(reader, wanted, before_id=found[-1].message_id, limit=1)
    if not found:
        selecting.raise_if_unknown(session, channel=wanted.channel, destination=wanted.destination)
    if form is not Form.TABLE:
        found = with_says(found, _channels(session))
    next_page = f"--before {found[-1].message_id}" if cut else ""
    nothing = "no result was rejected" if rejected else "no result is held"
    show_rows(form, HELD, found, nothing, next_page=next_page)


@command.command("show", help="Show what is held of one message: the rules that hold it, and its results.")
@click.argument("message", type=selecting.ROW)
@click.option("--unmask", is_flag=True, help="Show the values and those before them. This is noted in the audit trail.")
@purpose_option
@form_option(Form.TABLE, Form.JSON)
@pass_session
def show(session: Session, message: int, unmask: bool, purpose: str | None, form: Form) -> ExitCode:
    seen = _seen(session, message, stated(purpose)) if unmask else None
    with session.reader() as reader:
        trace = trace_of(reader, message)
        found = held_of(reader, message)
        results = results_held(reader, {}, found, masked=True) if seen is None else seen["results"]
        rows = []
        for one in with_says(found, _channels(session)):
            newer = overtaken(reader, one.delivery_id) if one.state == "held" else ""
            row = {**HELD.row(one), "newer_delivered": newer or "no", "help": help_of(one.reason)}
            row["newer"] = _newer(reader, one)
            row["results"] = results.get(str(one.delivery_id)) or []
            rows.append(row)
        if not rows and trace is None:
            raise why_absent(reader, "message", message)
    persons = None if seen is None else seen["whose"]
    lines = chain.from_iterable([*map(_explained, rows), _told_apart(persons)])
    show_document(form, {"message": message, "held": rows, "whose": persons}, lines)
    if not rows:
        say(f"nothing of message {message} is held")
    return ExitCode.OK if rows else ExitCode.FAILED


def _channels(session: Session) -> "Mapping[str, ChannelConfig]":
    """None where the configuration cannot be read."""
    with suppress(ConfigError):
        return session.load(require_secrets=False).channels
    return {}


def _seen(session: Session, message: int, purpose: str) -> dict[str, Any]:
    """The results that are held of a message, and of whom; the audit trail has it first."""
    return ask(session, "held_look", {"message": message, "purpose": purpose}, timeout=NOTED_WITHIN_S)


def _show_what(session: Session, chosen: Selection, asked: bool) -> None:
    """The results that a release sends; each message is a look. Where no person is ``asked``, none is shown: what a
    program starts writes into logs.

    Raises:
        RefusedError: they are too many to be looked at.
    """
    with session.reader() as reader:
        letters = list(islice(each_letter(reader, held_results, chosen), MOST_AT_ONCE + 1))
    if len(letters) > MOST_AT_ONCE:
        raise RefusedError(f"more than {MOST_AT_ONCE}: each is seen before it is released; choose fewer")
    if not asked:
        return
    seen = {
        number: _seen(session, number, "decision")["results"]
        for number in dict.fromkeys(one.message_id for one in letters)
    }
    for one in letters:
        say(printable(f"message {one.message_id} of {one.channel} for {one.destination}"))
        results = seen[one.message_id].get(str(one.delivery_id))
        for row in results or ():
            say(printable(f"  {in_words(row)}"))
        if results is None:
            say("  its results cannot be read here: labrelay messages show --unmask")


acting_verb(
    command,
    "release",
    "Release {n} held result{s}?",
    selecting.filter_options("channel", "destination", "since", "until"),
    _code,
    help="Let held results go to their destination, in their old places. Each is shown first; with --yes none is.",
    before=_show_what,
)
acting_verb(
    command,
    "reject",
    "Reject {n} held result{s} for good?",
    selecting.filter_options("destination"),
    help="Decide that held results are never delivered. Your name and reason stay.",
    numbers="MESSAGE...",
    everything=False,
)


@command.command("answer")
@click.argument("message", type=selecting.ROW)
@click.argument("said", type=click.Choice(list(_PERSON)), metavar="|".join(_PERSON))
@click.option(
    "--mark", metavar="MARK", help="Of the two persons, as `held show --unmask` has it; where several are asked about."
)
@selecting.reason_option
@selecting.sure_options
@form_option(Form.TABLE, Form.JSON)
@pass_session
def answer(
    session: Session, /, message: int, said: str, mark: str | None, reason: str, dry_run: bool, yes: bool, form: Form
) -> ExitCode:
    """Say whose a held result is (IDENTITY_CONFLICT, ORDER_MOVED).

    `same`: it is the person who bore the number before; `other`: another one, who gets a Patient of their own. The
    answer is for all messages with the number and the record of this one, and is remembered.

    Of a correction that moves an order to another patient: `withdraw` withdraws the first patient's result and sends
    this one; `both` sends it and leaves the first, for two patients have the number.
    """
    persons = [] if mark and yes else _seen(session, message, "decision")["whose"] or []
    compared = [one for one in persons if mark in (None, one["mark"])]
    if len(compared) > 1:
        raise RefusedError(f"message {message} asks about {len(compared)} persons: give --mark, as held show has it")
    if not (yes or dry_run):
        for line in _told_apart(compared):
            say(line)
    # Without a mark nothing is asked, or this person may not see it: the daemon says which.
    args = {"message": message, "answer": said, "reason": reason}
    args["mark"] = mark or next((one["mark"] for one in compared), "none")
    found = ask(session, "tell_apart", {**args, "dry_run": True})
    if dry_run:
        about = "with this number and this record" if said in ("same", "other") else "to be answered"
        show_document(form, found, (f"{plural(found['count'], 'held message')} {about}",))
        return ExitCode.OK
    consent(_PERSON[said].format(n=found["count"], s="" if found["count"] == 1 else "s"), yes=yes)
    done = ask(session, "tell_apart", {**args, "dry_run": False})
    show_document(form, done, (", ".join(f"{n} {name.replace('_', ' ')}" for name, n in done["done"].items() if n),))
    return ExitCode.PARTLY if any(done["done"].get(name) for name in LEFT) else ExitCode.OK


@command.command("persons")
@form_option()
@pass_session
def persons(session: Session, /, form: Form) -> None:
    """List who seems to be the person who bore a patient number before: to be confirmed.

    Each record was delivered. `held answer MESSAGE same` confirms it; `other` parts the two from then on.
    """
    with session.reader() as reader:
        show_rows(form, PERSON, list_seeming(reader), "no person is to be confirmed")


def _newer(reader: Reader, one: DeadLetter) -> list[dict[str, Any]]:
    """The newer messages that keep a held delivery back, and which of its results these have."""
    return [
        {
            "message": newer.message_id,
            "in_common": None if newer.in_common is None else len(newer.in_common),
            "codes": sorted(newer.in_common or ()),
            "report_further_on": newer.report,
        }
        for newer in (overtaken_by(reader, one.delivery_id) if one.state == "held" else [])
    ]


def _of_newer(newer: dict[str, Any]) -> str:
    """The results that a newer message shares with a held one."""
    if newer["in_common"] is None:
        return f"Message {newer['message']} is newer; which results both have is unknown."
    if newer["report_further_on"]:
        return f"Message {newer['message']} is newer and has none of these results, but has brought the report further."
    codes = ", ".join(code for code in newer["codes"] if code)
    named = f": {codes}" if codes else ""
    return printable(
        f"Message {newer['message']} is newer and has {newer['in_common'] or 'none'} of these results{named}"
    )


def _explained(row: dict[str, Any]) -> Iterator[str]:
    where = f"message {row['message']} of {row['channel']} for {row['destination']}"
    yield Head(f"{where}: {row['state']}")
    if row["critical"]:
        yield Head("  critical value")
    yield printable(f"  {row['code']}{': ' + row['why'] if row['why'] else ''}")
    yield from (printable(f"  {language}: {words}") for language, words in row["says"].items())
    if row["help"]:
        yield f"  {row['help']}"
    for newer in row["newer"]:
        yield f"  {_of_newer(newer)}"
    if row["newer"]:
        yield f"  {_IF_RELEASED[row['newer_delivered']]}"
    for one in row["results"]:
        yield printable(f"    {in_words(one)}")


def _told_apart(persons: Sequence[dict[str, Any]] | None) -> Iterator[str]:
    for one in persons or ():
        known = one["known_message"] or "that is gone"
        yield Head(f"  whose: this message, and message {known}; mark {one['mark']}")
        for field in one["fields"]:
            sent, known = (field[side] or "nothing" for side in ("sent", "known"))
            yield printable(f"    {field['field']}: {sent}; {known}: {_COMPARED[field['compared']]}")


def in_words(one: dict[str, Any]) -> str:
    """One result; without its value where that is masked."""
    shown = [", ".join(one["codes"]) or one.get("name") or "a result without a code"]
    if "value" in one:
        shown.append(f"{one['value'] or 'no value'} {one['unit']}".rstrip())
        told = {"sent as": one["sends"], "range": one["range"], "specimen": one["specimen"], "measured": one["at"]}
        shown += [f"{name} {text}" for name, text in told.items() if text]
        if one["earlier"]:
            change = f", changed by {one['change']}" if one["change"] else ""
            change += f" ({one['percent']} %)" if one["percent"] else ""
            shown.append(f"earlier {one['earlier']} at {one['earlier_at']}{change}")
    if one["flags"]:
        shown.append(", ".join(f"{flag} {FLAGS[flag]}" if flag in FLAGS else flag for flag in one["flags"]))
    return "; ".join([*shown, one["status"], *(["held for this"] if one["held"] else [])])
