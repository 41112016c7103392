"""The key-encryption key, as the running journal has it changed and looked at
(`engine.store.lifecycle.key_rotation`)."""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

from engine.model.errors import StoreError
from engine.store.core import key_encryption_key
from engine.store.core.vault import check_value
from engine.store.journal.submitting import Submitting
from engine.store.lifecycle import key_rotation


class Keys(Submitting):
    """A new key, and what is known of the one in use."""

    async def rotate_key(
        self, data: Path, *, actor: str, discard_old: bool = False, step: Callable[[str], None] = lambda name: None
    ) -> key_rotation.Rotated:
        """Make a new key-encryption key and wrap all data keys by it; see `engine.store.lifecycle.key_rotation`.

        Args:
            data: the data folder.
            step: told the name of each step that is done.

        Raises:
            StoreError, IntegrityError: which step failed; the site opens all the same.
        """
        # Of two at once one would take away the file of the key that the other has just committed.
        if self._rotating:
            raise StoreError("the key is being changed already; look at labrelay key status when that has ended")
        self._rotating = True
        try:
            return await self._rotate_key(data, actor=actor, discard_old=discard_old, step=step)
        finally:
            self._rotating = False

    async def _rotate_key(
        self, data: Path, *, actor: str, discard_old: bool, step: Callable[[str], None]
    ) -> key_rotation.Rotated:
        with self.snapshot() as execute:
            (expected,) = execute("SELECT value FROM meta WHERE name = 'key_check'").fetchone()
        old = await asyncio.to_thread(key_rotation.begin, data, expected)
        new = await asyncio.to_thread(key_rotation.write_new, data, step)
        self.vault.offer_kek(new)
        keys = await self._submit(partial(key_rotation.take, old=old.kek, new=new, actor=actor), verdict=True)
        step("committed")
        await asyncio.to_thread(key_rotation.prove, self._path, data, new)
        step("proven")
        place, kept = await asyncio.to_thread(key_rotation.settle, data, old, discard_old=discard_old, step=step)
        return key_rotation.Rotated(
            before=old.id,
            after=key_encryption_key.key_id(check_value(new)),
            keys=keys,
            place=place,
            to_move=old.source in (key_encryption_key.Source.CREDENTIAL, key_encryption_key.Source.ENVIRONMENT),
            kept=kept,
        )

    def key_facts(self) -> key_rotation.KeyFacts:
        """What the journal says of its keys."""
        with self.snapshot() as execute:
            return key_rotation.facts(execute)

    def confirm_sheet(self, *, actor: str) -> "asyncio.Future[None]":
        """A named person has the recovery sheet of the key in use, and has typed from it."""
        return self._submit(partial(key_rotation.confirm_sheet, actor=actor), verdict=True)
