"""Tokens of programs and of wall screens."""

from engine.features.access.rules.accounts import ApiToken
from engine.model.errors import LabRelayError, RefusedError
from engine.model.process.clock import from_us
from engine.model.texts.phrases import N_, Said
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.operations import audit

TAKEN = N_("there is a token {name} already")
MOST_TOKENS = 1000


@operation(priority=Priority.SETTLE)
def add(batch: Batch, new: ApiToken, actor: str) -> None:
    """Add a token.

    Raises:
        RefusedError: there is one of that name, or there are too many.
    """
    if batch.execute("SELECT 1 FROM api_token WHERE name = ?", (new.name,)).fetchone() is not None:
        raise RefusedError(Said(TAKEN, name=new.name))
    if batch.execute("SELECT count(*) FROM api_token").fetchone()[0] >= MOST_TOKENS:
        raise RefusedError(f"there are {MOST_TOKENS} tokens, which is the most; revoke one first")
    words = " ".join(sorted(new.permissions))
    batch.execute(
        "INSERT INTO api_token (name, token, permissions, made_by, created_us, ends_us, used_us, used_from, units)"
        " VALUES (?, ?, ?, ?, ?, ?, 0, '', ?)",
        (new.name, new.token, words, new.made_by, batch.now_us, new.ends_us, " ".join(new.units)),
    )
    ends = from_us(new.ends_us).isoformat(timespec="seconds") if new.ends_us else None
    units = {"units": list(new.units)} if new.units else {}
    audit.note(batch, actor, "token-created", {"token": new.name, "permissions": words, "ends": ends, **units})


@operation(priority=Priority.SETTLE)
def revoke(batch: Batch, name: str, actor: str) -> None:
    """Remove a token.

    Raises:
        LabRelayError: there is none of that name.
    """
    if not batch.execute("DELETE FROM api_token WHERE name = ?", (name,)).rowcount:
        raise LabRelayError(f"there is no token {name}")
    audit.note(batch, actor, "token-revoked", {"token": name})


@operation(priority=Priority.SETTLE)
def exchange(batch: Batch, name: str, token: bytes, new: bytes, actor: str) -> bool:
    """Give a token another secret; return False where the one before is no longer its secret."""
    if not batch.execute("UPDATE api_token SET token = ? WHERE token = ?", (new, token)).rowcount:
        return False
    audit.note(batch, actor, "token-exchanged", {"token": name})
    return True


@operation(priority=Priority.SETTLE, can_linger=True)
def used(batch: Batch, token: bytes, address: str, at_us: int) -> None:
    """Note the last use."""
    batch.execute("UPDATE api_token SET used_us = ?, used_from = ? WHERE token = ?", (at_us, address, token))
