"""Acts that only the journal's record makes acts of: contents shown or exported, and what is done with the key."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine.actions.underway import UnderWay

KEY_ACTS = {"show": "key-shown", "restored": "key-restored"}  # what a command does with the key by itself -> its act


class Noting(UnderWay):
    """What is noted before it is done elsewhere."""

    async def note(self, actor: str, verb: str, what: dict[str, Any]) -> None:
        """Store an act that is about to be done by the command that asks."""
        await self._journal.act_note(actor, verb, what)

    async def rotate_key(self, data: Path, *, actor: str, discard_old: bool) -> dict[str, Any]:
        """A new key-encryption key; see `engine.store.lifecycle.key_rotation`."""
        return asdict(await self._journal.rotate_key(data, actor=actor, discard_old=discard_old))

    async def confirm_sheet(self, *, actor: str) -> None:
        """A person has typed from the recovery sheet of the key in use."""
        await self._journal.confirm_sheet(actor=actor)

    async def note_shown(self, actor: str, message: int) -> None:
        """A person is about to see contents: durable before they do."""
        await self._journal.act_note(actor, "unmask", {"message": message})

    async def note_exported(self, actor: str, what: dict[str, Any]) -> None:
        """A person is about to write contents to a file; ``what`` tells which."""
        await self._journal.act_note(actor, "unmask", {"export": what})
