"""Orders for analyzers: enter them, look at them, change one; and the questions that analyzers asked.

An analyzer whose channel has `orders:` asks for the orders of each tube, and is answered from here. An order is one
test of one tube; its number is a W and digits. Tubes and patients are shown with --unmask alone.
"""

from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

from engine.commands.shared.acting import ask, note_searched, purpose_option, stated
from engine.commands.shared.completing import channel_names, some_of
from engine.commands.shared.output import ExitCode, Form, form_option, say, show_document, show_rows
from engine.commands.shared.selecting import (
    ROW,
    asked_for,
    instant_us,
    page_options,
    raise_if_unknown,
    stated_reason,
    word,
)
from engine.commands.shared.session import Session, pass_session
from engine.features.orders.config.together import unsent_after_s
from engine.features.orders.lists import ORDER, QUESTION, REFLEX, WITHOUT_ORDER, in_full, sheet_csv, sheet_lines
from engine.features.orders.rows import order_questions, reading, reflex
from engine.features.orders.rows.order_questions import TABS, filter_of
from engine.features.orders.rows.order_questions import unanswered as in_vain
from engine.model.errors import LabRelayError
from engine.model.orders import ItemReason, ItemState, item_id, item_number

GROUP = "every day"

F = TypeVar("F", bound=Callable[..., Any])
PRIORITIES = ("routine", "stat", "asap", "timed", "callback", "pre-op")
STATES = tuple(one.value for one in ItemState)
REASONS = tuple(one.value for one in ItemReason if one.value)
SEXES = ("F", "M", "O", "U", "A", "N")


class _Order(click.ParamType[int]):
    """The number of an order."""

    name = "order"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        number = value if isinstance(value, int) else item_number(str(value).upper())
        if number is None:
            self.fail(f"{value} is no order; its number is a W and digits, as W17", param, ctx)
        return number


ORDER_NUMBER = _Order()


def _on_order(work: Callable[..., Any]) -> Callable[..., Any]:
    """Arguments of a verb that changes one order."""
    asked = stated_reason(form_option(Form.TABLE, Form.JSON)(pass_session(work)))
    return click.argument("order", type=ORDER_NUMBER, metavar="ORDER")(asked)


def _one_of(option: str, words: Collection[str], metavar: str, help: str) -> Callable[[F], F]:
    told = f"{help}: {', '.join(words)}."
    return click.option(option, type=word([*words]), shell_complete=some_of(words), metavar=metavar, help=told)


@click.group(help=__doc__)
def command() -> None:
    pass


@command.command("add")
@click.argument("specimen", callback=asked_for)
@click.argument("tests", nargs=-1, required=True, metavar="TEST...")
@click.option("--patient", default="", callback=asked_for, metavar="NUMBER", help="Number of the patient; - asks.")
@click.option("--family", default="", callback=asked_for, metavar="NAME", help="Family name; - asks for it.")
@click.option("--given", default="", callback=asked_for, metavar="NAME", help="Given name; - asks for it.")
@click.option("--birth-date", default="", callback=asked_for, metavar="YYYYMMDD", help="Day of birth, or its year.")
@click.option("--sex", type=word(SEXES), metavar="SEX", help="As HL7 table 0001 has it: F, M, O, U, A, N.")
@click.option("--priority", type=word(PRIORITIES), default="routine", show_default=True, metavar="PRIORITY")
@click.option("--placer", default="", metavar="NUMBER", help="The number of the order at the one who ordered it.")
@click.option("--type", "specimen_type", default="", metavar="TYPE", help="Type of the specimen, as HL7 table 0487.")
@click.option(
    "--for", "targets", multiple=True, shell_complete=channel_names, metavar="CHANNEL", help="For this analyzer alone."
)
@form_option(Form.TABLE, Form.JSON)
@pass_session
def add(session: Session, /, tests: tuple[str, ...], targets: tuple[str, ...], form: Form, **given: Any) -> ExitCode:
    """Enter the orders of a tube: its number, exactly as its label has it; the tests by the LIS's codes.

    The same order again is no second one. One number with two patients holds both orders.
    """
    done = ask(
        session, "order_add", {**given, "tests": list(tests), "targets": list(targets), "sex": given["sex"] or ""}
    )
    show_document(form, done, (_in_words(one) for one in done["orders"]))
    if any(one["state"] == ItemState.REJECTED for one in done["orders"]):
        return ExitCode.PARTLY
    return ExitCode.OK


def _in_words(one: dict[str, Any]) -> str:
    reason = f" ({one['reason']})" if one["reason"] else ""
    again = ", as before" if one["repeat"] else ""
    return f"{one['order'] or 'no order':<10} {one['test']}: {one['state']}{reason}{again}"


@command.command("list")
@_one_of("--tab", TABS, "LIST", "As the page has them")
@_one_of("--state", STATES, "STATE", "In this state")
@_one_of("--reason", REASONS, "CODE", "With this reason")
@click.option("--channel", shell_complete=channel_names, metavar="NAME", help="That this analyzer has, or may run.")
@click.option("--specimen", callback=asked_for, metavar="NUMBER", help="Of exactly this tube; - asks for its number.")
@click.option(
    "--patient",
    callback=asked_for,
    metavar="NUMBER",
    help="Of the patient with this number; noted in the audit trail. - asks for it.",
)
@click.option("--placer", metavar="NUMBER", help="With exactly this number at the one who ordered it.")
@click.option("--since", metavar="TIME", help="Changed since: an age (2h), a day, or a day and time.")
@click.option("--all", "everything", is_flag=True, help="Those that have ended, too.")
@page_options("order")
@form_option()
@pass_session
def list_orders(
    session: Session, /, tab: str | None, everything: bool, limit: int, before: int | None, form: Form, **given: Any
) -> None:
    """List orders, the newest first.

    Without a list, a state or a number these are the ones that are open; of a tube, a patient or an order number, all.
    """
    state, reason = given["state"], given["reason"]
    if tab and (state or reason or everything):
        raise click.UsageError("give --tab without --state, --reason and --all")
    raise_if_unknown(session, channel=given["channel"])
    by_number = given["specimen"] or given["patient"] or given["placer"]
    wanted = reading.ItemFilter(open=not (state or reason or everything or by_number))
    if tab:
        wanted = filter_of(tab, _now_us(), unsent_after_s(session.load(require_secrets=False).channels))
    wanted = replace(
        wanted,
        states=(ItemState(state),) if state else wanted.states,
        reasons=(ItemReason(reason),) if reason else wanted.reasons,
        channel=given["channel"] or "",
        specimen=given["specimen"] or "",
        patient=given["patient"] or "",
        placer=given["placer"] or "",
        since_us=max(wanted.since_us, instant_us(session, given["since"]) or 0),
    )
    if wanted.patient:
        note_searched(session, wanted.patient)
    with session.reader() as reader:
        found = reading.items(reader, wanted, after=before or 0, limit=limit + 1)
    cut, found = len(found) > limit, found[:limit]
    show_rows(form, ORDER, found, "no order", next_page=f"--before {found[-1].number}" if cut else "")


def _now_us() -> int:
    return int(datetime.now(UTC).timestamp() * 1_000_000)


@command.command("worklist")
@click.argument("channels", nargs=-1, shell_complete=channel_names, metavar="[CHANNEL]...")
@click.option(
    "--unmask", is_flag=True, help="Needed, for it shows tubes and patients. This is noted in the audit trail."
)
@purpose_option
@form_option(Form.TABLE, Form.JSON, Form.CSV)
@pass_session
def print_worklist(
    session: Session, /, channels: tuple[str, ...], unmask: bool, purpose: str | None, form: Form
) -> ExitCode:
    """Write the waiting orders of each analyzer, tube by tube, to print: for a time in which it cannot ask.

    The tests have the analyzer's own codes. Without CHANNEL it has all analyzers. It works without the daemon, too.
    """
    if not unmask:
        raise click.UsageError("a worklist shows tubes and patients: add --unmask and --purpose TEXT")
    made = ask(session, "order_worklist", {"channels": list(channels), "purpose": stated(purpose)})
    printed = datetime.now(session.zone)
    if form is Form.CSV:
        click.echo("\n".join(sheet_csv(made["sheets"])))
    else:
        show_document(form, {"printed": printed, **made}, sheet_lines(made["sheets"], printed))
    if made["cut"]:
        say("there are more waiting orders: name one analyzer, or have it ask again")
        return ExitCode.PARTLY
    return ExitCode.OK


@command.command("show", help="Show one order: each change of it, and the message behind it.")
@click.argument("order", type=ORDER_NUMBER, metavar="ORDER")
@click.option("--unmask", is_flag=True, help="Show its tube and patient. This is noted in the audit trail.")
@purpose_option
@form_option(Form.TABLE, Form.JSON)
@pass_session
def show(session: Session, /, order: int, unmask: bool, purpose: str | None, form: Form) -> None:
    if unmask:
        ask(session, "order_shown", {"order": order, "purpose": stated(purpose)})
    with session.reader() as reader:
        found = reading.item(reader, order)
    if found is None:
        raise LabRelayError(f"there is no order {item_id(order)}")
    document, lines = in_full(found, unmask=unmask)
    show_document(form, document, lines)


def _change(session: Session, verb: str, order: int, reason: str, form: Form, **more: int) -> None:
    done = ask(session, verb, {"order": order, "reason": reason, **more})
    show_document(form, done, [f"{done['order']} is {done['state']} now"])


@command.command(help="Cancel an order. One that an analyzer may have is pending first; a second cancel ends it.")
@_on_order
def cancel(session: Session, /, order: int, reason: str, form: Form) -> None:
    _change(session, "order_cancel", order, reason, form)


@command.command(help="List tests that a result proposes, for you to confirm or decline.")
@click.option("--all", "all_of_them", is_flag=True, help="Also those that are decided or withdrawn.")
@form_option()
@pass_session
def reflexes(session: Session, all_of_them: bool, form: Form) -> None:
    with session.reader() as reader:
        found = reflex.proposals(reader, all_of_them=all_of_them, limit=1000)
    show_rows(form, REFLEX, found, "no test is proposed")


@command.command(help="Make a proposed test an order of the same tube. Look at the result first.")
@click.argument("proposal", type=ROW)
@stated_reason
@form_option(Form.TABLE, Form.JSON)
@pass_session
def confirm(session: Session, proposal: int, reason: str, form: Form) -> None:
    done = ask(session, "reflex_confirm", {"proposal": proposal, "reason": reason})
    show_document(form, done, [f"ordered: {done['order']}"])


@command.command(help="Decline a proposed test.")
@click.argument("proposal", type=ROW)
@stated_reason
@form_option(Form.TABLE, Form.JSON)
@pass_session
def decline(session: Session, proposal: int, reason: str, form: Form) -> None:
    done = ask(session, "reflex_decline", {"proposal": proposal, "reason": reason})
    show_document(form, done, ["declined"])


@command.command()
@_on_order
def release(session: Session, /, order: int, reason: str, form: Form) -> None:
    """Let a held order go on.

    Of a number with two patients you say by this whose the tube is: cancel the orders of the other patient first.
    """
    _change(session, "order_release", order, reason, form)


@command.command(help="Let an order wait once more that the analyzer has lost or refused, or whose time was over.")
@_on_order
def resend(session: Session, /, order: int, reason: str, form: Form) -> None:
    _change(session, "order_resend", order, reason, form)


@command.command()
@click.argument("channel", shell_complete=channel_names)
@click.option("--specimen", default="", callback=asked_for, metavar="NUMBER", help="Of this tube; - asks.")
@click.option("--since", metavar="TIME", help="All since then: an age (2h), a day, or a day and time.")
@form_option(Form.TABLE, Form.JSON)
@pass_session
def fetch(session: Session, /, channel: str, specimen: str, since: str | None, form: Form) -> None:
    """Ask an analyzer for results that it keeps: of one tube, or all since a time.

    They come as results always do, and one that is here already is no second one. Few analyzers give results so.
    """
    if bool(specimen) == (since is not None):
        raise click.UsageError("give either --specimen or --since")
    done = ask(
        session, "order_fetch", {"channel": channel, "specimen": specimen, "since_us": instant_us(session, since) or 0}
    )
    show_document(form, done, [f"the analyzer of {channel} has the request; its results come as messages"])


@command.command()
@click.argument("order", type=ORDER_NUMBER, metavar="ORDER")
@click.argument("message", type=ROW)
@stated_reason
@form_option(Form.TABLE, Form.JSON)
@pass_session
def match(session: Session, /, order: int, message: int, reason: str, form: Form) -> None:
    """Say that a result which no order was found for, in a message, is of this order.

    Specimen number and patient must be the same. Compare both first.
    """
    _change(session, "order_match", order, reason, form, message=message)


@command.command(help="Undo a match: until the result is delivered with it.")
@_on_order
def unmatch(session: Session, /, order: int, reason: str, form: Form) -> None:
    _change(session, "order_unmatch", order, reason, form)


@command.command("unordered", help="List results that no order is there for, the newest first.")
@click.option("--channel", shell_complete=channel_names, metavar="NAME", help="Of this channel.")
@click.option("--since", metavar="TIME", help="Since: an age (2h), a day, or a day and time.")
@page_options("message")
@form_option()
@pass_session
def unordered(
    session: Session, /, channel: str | None, since: str | None, limit: int, before: int | None, form: Form
) -> None:
    raise_if_unknown(session, channel=channel)
    with session.reader() as reader:
        found = reading.without_order(
            reader, channel=channel or "", since_us=instant_us(session, since) or 0, after=before or 0, limit=limit + 1
        )
    cut, found = len(found) > limit, found[:limit]
    next_page = f"--before {found[-1].message_id}" if cut else ""
    show_rows(form, WITHOUT_ORDER, found, "no result without an order", next_page=next_page)


@command.command("log", help="List the questions of analyzers, the newest first, and how each was answered.")
@click.option("--channel", shell_complete=channel_names, metavar="NAME", help="Of this channel.")
@click.option("--specimen", callback=asked_for, metavar="NUMBER", help="For exactly this tube; - asks for its number.")
@click.option("--since", metavar="TIME", help="Asked since: an age (2h), a day, or a day and time.")
@click.option(
    "--unanswered",
    is_flag=True,
    help="Of the last 24 hours, those without an answer, or without orders for a tube that still needs one.",
)
@page_options("question")
@form_option()
@pass_session
def log(
    session: Session,
    /,
    channel: str | None,
    specimen: str | None,
    since: str | None,
    unanswered: bool,
    limit: int,
    before: int | None,
    form: Form,
) -> None:
    raise_if_unknown(session, channel=channel)
    wanted = in_vain(_now_us()) if unanswered else order_questions.QueryFilter()
    since_us = max(wanted.since_us, instant_us(session, since) or 0)
    wanted = replace(wanted, channel=channel or "", specimen=specimen or "", since_us=since_us)
    with session.reader() as reader:
        found = order_questions.queries(reader, wanted, after=before or 0, limit=limit + 1)
    cut, found = len(found) > limit, found[:limit]
    show_rows(form, QUESTION, found, "no question", next_page=f"--before {found[-1].number}" if cut else "")
