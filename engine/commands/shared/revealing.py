"""Patient data shown to a person: its purpose is stated, and the row of the audit trail comes first."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from engine.commands.shared.acting import ask
from engine.commands.shared.output import on_terminal
from engine.commands.shared.session import Session

F = TypeVar("F", bound=Callable[..., Any])
NOTED_WITHIN_S = 10.0


def purpose_option(command: F) -> F:
    """The option ``--purpose``; the command gives it to `stated` before it reads anything."""
    return click.option(
        "--purpose",
        metavar="TEXT",
        help="Why patient data is looked at; kept in the audit trail. Required for that; asked for on a terminal.",
    )(command)


def stated(purpose: str | None) -> str:
    """The purpose; where none was given, a person at a terminal is asked.

    Raises:
        UsageError: there is none.
    """
    text = (purpose or "").strip()
    if not text and on_terminal():
        text = click.prompt("What for? It is kept in the audit trail; write no patient data", err=True).strip()
    if not text:
        raise click.UsageError("--purpose TEXT is missing: why patient data is looked at")
    return text


def note_shown(session: Session, message: int, purpose: str) -> None:
    """Contents without an audit row are not shown."""
    ask(session, "shown", {"message": message, "purpose": purpose}, timeout=NOTED_WITHIN_S)


def note_exported(session: Session, what: dict[str, Any], purpose: str) -> None:
    """As `note_shown`, for all messages that fit; ``purpose``: may be empty for an export without patients."""
    ask(session, "exported", {"what": what, "purpose": purpose}, timeout=NOTED_WITHIN_S)


def note_searched(session: Session, number: str) -> None:
    """A list of the messages of a patient says whether that patient was here: recorded before it is shown."""
    ask(session, "searched", {"number": number}, timeout=NOTED_WITHIN_S)
