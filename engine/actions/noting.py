"""Acts that only the journal's record makes acts of: contents shown or exported, and what is done with the key."""

from typing import TYPE_CHECKING, Any

from engine.store.operations import audit

if TYPE_CHECKING:
    from engine.store.journal import Journal

KEY_ACTS = {"show": "key-shown", "restored": "key-restored"}  # what a command does with the key by itself -> its act


async def note_shown(journal: "Journal", actor: str, message: int) -> None:
    """A person is about to see contents: durable before they do."""
    await journal.run(audit.note, actor, "unmask", {"message": message})


async def note_exported(journal: "Journal", actor: str, what: dict[str, Any]) -> None:
    """A person is about to write contents to a file; ``what`` tells which."""
    await journal.run(audit.note, actor, "unmask", {"export": what})
