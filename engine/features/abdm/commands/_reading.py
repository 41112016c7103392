"""Verbs of `labrelay abdm` that read: the state of each laboratory, care contexts, consents, requests for records.

They read the journal, with the daemon running or not. Patients are masked in all of them.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

from engine.commands.shared.completing import some_of
from engine.commands.shared.output import Form, form_option, show_document, show_rows
from engine.commands.shared.selecting import ROW, asked_for, page_options, word
from engine.commands.shared.session import Session, pass_session
from engine.features.abdm import lists
from engine.features.abdm.rows import details as abdm_details
from engine.features.abdm.rows import lists as abdm_lists
from engine.features.abdm.rows.lists import Wanted
from engine.features.abdm.rows.state import facility_states
from engine.features.abdm.rules.consents import ConsentState
from engine.features.abdm.rules.network import ContextState, TransferState
from engine.model.errors import ConfigError, LabRelayError, RefusedError, UnreachableError
from engine.views.view import View

F = TypeVar("F", bound=Callable[..., Any])
_rows_form = form_option(Form.TABLE, Form.JSON, Form.NDJSON, Form.CSV)
_form = form_option(Form.TABLE, Form.JSON)


def register(group: click.Group) -> None:
    for one in (status, contexts, consents, transfers, show_context, show_consent):
        group.add_command(one)


@click.command()
@_form
@pass_session
def status(session: Session, form: Form) -> None:
    """Show the state of each laboratory at ABDM, and whether all is well.

    It counts care contexts and consents by state, calls that wait and that failed, open requests, suspended consents,
    and callbacks that could not be used; and says where to look. The running daemon adds faults of the account.
    """
    with session.reader() as reader:
        found = facility_states(reader, _configured(session), int(datetime.now(UTC).timestamp() * 1_000_000))
    account = _account(session)
    lines = list(lists.state_lines(found, account)) or ["this site has nothing at ABDM; docs/abdm.md says how to begin"]
    show_document(form, lists.state_in_full(found, account), lines)


def _filters(states: Sequence[str], noun: str) -> Callable[[F], F]:
    def decorate(command: F) -> F:
        words = ", ".join(states)
        for option in (
            click.option("--reason", metavar="CODE", help="With exactly this reason."),
            click.option("--facility", metavar="ID", help="Of this laboratory, by its id at the gateway."),
            click.option(
                "--state",
                type=word(states),
                shell_complete=some_of(states),
                metavar="STATE",
                help=f"In this state: {words}.",
            ),
        ):
            command = option(command)
        return page_options(noun)(command)

    return decorate


@click.command()
@_filters([*ContextState], "context")
@click.option("--message", type=ROW, metavar="ID", help="Of this message, in its newest version.")
@click.option(
    "--report", callback=asked_for, metavar="NUMBER", help="Of reports with exactly this number; - asks for it."
)
@_rows_form
@pass_session
def contexts(session: Session, /, message: int | None, report: str | None, form: Form, **given: Any) -> None:
    """List care contexts, the newest first: each report at ABDM, its state, and why it waits or failed.

    `labrelay abdm context` shows one in full.
    """
    more = {"message": message, "report": report or ""}
    _show(session, form, lists.CONTEXT, abdm_lists.contexts, "no care context", more, **given)


@click.command()
@_filters([*ConsentState], "consent")
@_rows_form
@pass_session
def consents(session: Session, /, form: Form, **given: Any) -> None:
    """List consents of patients, the newest first, and how much was sent under each.

    `labrelay abdm consent` shows one in full. It says whether the consent manager's signature is verified.
    """
    _show(session, form, lists.CONSENT, abdm_lists.consents, "no consent", {}, **given)


@click.command()
@_filters([*TransferState], "request")
@click.option(
    "--consent", type=ROW, metavar="NUMBER", help="Under this consent, by its number in the list of consents."
)
@_rows_form
@pass_session
def transfers(session: Session, /, consent: int | None, form: Form, **given: Any) -> None:
    """List requests for records, the newest first, and how many pages the reader got."""
    _show(session, form, lists.TRANSFER, abdm_lists.transfers, "no request for records", {"consent": consent}, **given)


@click.command("context")
@click.argument("number", type=ROW, metavar="CONTEXT")
@_form
@pass_session
def show_context(session: Session, number: int, form: Form) -> None:
    """Show one care context: its versions, the steps of its link, and what went to readers."""
    with session.reader() as reader:
        found = abdm_details.context(reader, number)
    if found is None:
        raise LabRelayError(f"there is no care context {number}")
    show_document(form, lists.context_in_full(found), lists.context_lines(found))


@click.command("consent")
@click.argument("number", type=ROW, metavar="CONSENT")
@_form
@pass_session
def show_consent(session: Session, number: int, form: Form) -> None:
    """Show one consent: what it allows, to which reader and until when, and what was sent under it."""
    with session.reader() as reader:
        found = abdm_details.consent(reader, number)
    if found is None:
        raise LabRelayError(f"there is no consent {number}")
    show_document(form, lists.consent_in_full(found), lists.consent_lines(found))


def _account(session: Session) -> dict[str, Any] | None:
    """The account as the daemon's watchdog sees it; None: no daemon says it."""
    try:
        account: dict[str, Any] | None = session.call("status")["abdm"]
    except (UnreachableError, RefusedError):
        return None
    return account


def _configured(session: Session) -> dict[str, str]:
    """The laboratories of the site's configuration; none where it cannot be read."""
    from engine.features.abdm.config.destination import facilities_of

    try:
        return facilities_of(session.load(require_secrets=False).config.destinations)
    except ConfigError:
        return {}


def _show(
    session: Session,
    form: Form,
    view: View[Any],
    read: Callable[..., Sequence[Any]],
    empty: str,
    more: dict[str, Any],
    *,
    limit: int,
    before: int | None,
    **given: str | None,
) -> None:
    said: dict[str, Any] = {name: text or "" for name, text in given.items()} | more
    with session.reader() as reader:
        found = read(reader, Wanted(**said), before=before or 0, limit=limit + 1)
    cut, found = len(found) > limit, found[:limit]
    show_rows(form, view, found, empty, next_page=f"--before {found[-1].number}" if cut else "")
