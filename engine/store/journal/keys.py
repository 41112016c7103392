"""Replace the key-encryption key in use by a new one (`engine.store.lifecycle.key_rotation`)."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from engine.model.errors import StoreError
from engine.store.core import key_encryption_key
from engine.store.core.vault import check_value
from engine.store.journal import Journal
from engine.store.lifecycle import key_rotation


async def rotate(
    journal: Journal,
    data: Path,
    *,
    actor: str,
    discard_old: bool = False,
    step: Callable[[str], None] = lambda name: None,
) -> key_rotation.RotationResult:
    """Make a new key-encryption key and wrap all data keys by it; see `engine.store.lifecycle.key_rotation`.

    Args:
        data: the data folder.
        step: called with the name of each completed step.

    Raises:
        StoreError, IntegrityError: a step failed; the site opens all the same.
    """
    if journal.changing_key.locked():  # of two at once one would remove the key file that the other committed
        raise StoreError("the key is being changed already; look at labrelay key status when that has ended")
    async with journal.changing_key:
        with journal.snapshot() as execute:
            (expected,) = execute("SELECT value FROM meta WHERE name = 'key_check'").fetchone()
        old = await asyncio.to_thread(key_rotation.begin, data, expected)
        new = await asyncio.to_thread(key_rotation.write_new, data, step)
        journal.vault.offer_kek(new)
        keys = await journal.run(key_rotation.take, old=old.kek, new=new, actor=actor)
        step("committed")
        await asyncio.to_thread(key_rotation.prove, journal.path, data, new)
        step("proven")
        place, kept = await asyncio.to_thread(key_rotation.put_in_place, data, old, discard_old=discard_old, step=step)
        return key_rotation.RotationResult(
            before=old.id,
            after=key_encryption_key.key_id(check_value(new)),
            keys=keys,
            place=place,
            to_move=old.source in (key_encryption_key.Source.CREDENTIAL, key_encryption_key.Source.ENVIRONMENT),
            kept=kept,
        )
