"""Acts that change nothing and are noted all the same: a person saw contents, or took them along."""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from engine.commands.shared.selecting import ask
from engine.commands.shared.session import Session

if TYPE_CHECKING:
    from engine.actions.underway import Acts

NOTED_WITHIN_S = 10.0


def note_shown(session: Session, message: int) -> None:
    """The audit row comes first: contents that cannot be accounted for are not shown."""
    from engine.actions import noting  # lists start without it, and so without the store

    _note(session, "shown", {"message": message}, lambda acts, actor: noting.note_shown(acts.journal, actor, message))


def note_exported(session: Session, what: dict[str, Any]) -> None:
    """As `note_shown`, for all messages that fit."""
    from engine.actions import noting

    _note(session, "exported", {"what": what}, lambda acts, actor: noting.note_exported(acts.journal, actor, what))


def _note(
    session: Session, verb: str, args: dict[str, Any], by_us: "Callable[[Acts, str], Coroutine[Any, Any, None]]"
) -> None:
    """Have the daemon note an act, or note it here where none runs."""

    async def note(acts: "Acts", actor: str) -> dict[str, Any]:
        await by_us(acts, actor)
        return {}

    ask(session, verb, args, note, timeout=NOTED_WITHIN_S)
