"""Actions that consist of their audit row alone: contents shown or exported, and uses of the key."""

from typing import TYPE_CHECKING, Any

from engine.store.operations import audit

if TYPE_CHECKING:
    from engine.store.journal import Journal

KEY_ACTS = {"show": "key-shown", "restored": "key-restored"}  # use of the key by a command -> its action


async def note_shown(journal: "Journal", actor: str, message: int) -> None:
    """Record that a person is about to see contents: durable before they do."""
    await journal.run(audit.note, actor, "unmask", {"message": message})


async def note_exported(journal: "Journal", actor: str, what: dict[str, Any]) -> None:
    """Record that a person is about to export contents; ``what`` names them."""
    await journal.run(audit.note, actor, "unmask", {"export": what})
