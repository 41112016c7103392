"""Users: added, changed, removed."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from hashlib import sha256
from typing import Any

import orjson

from engine.features.access.rules.accounts import LONGEST_NAME, Credentials, Identity, name_key, shown_name
from engine.model.errors import LabRelayError, LogInError, RefusedError
from engine.model.site.actor import Actor
from engine.model.texts.phrases import R_
from engine.store.core.vault import NOTE_KEYS
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.operations import audit

COLUMN = "app_user"  # the place of sealed credentials, with the user's id
MOST_USERS = 1000
NO_ADMIN = R_("first an admin with a password has to be set up here")
KEPT_OUT = R_("you are kept out; ask the person who administers LabRelay")


@operation(priority=Priority.SETTLE)
def add(
    batch: Batch,
    name: str,
    role: str,
    credentials: Credentials,
    actor: str,
    *,
    sees_patients: bool,
    first: bool = False,
) -> int:
    """Add a user; return the id.

    Args:
        first: only while there is no user at all.

    Raises:
        RefusedError: there is one of that name, or there are too many; or it is not the first.
    """
    if first and _count(batch):
        raise RefusedError("there is a user already; an admin adds the others")
    if batch.execute("SELECT 1 FROM app_user WHERE name_key = ?", (name_key(name),)).fetchone() is not None:
        raise RefusedError(f"there is a user {name} already, or one whose name looks the same")
    said = {"user": name, "role": role, "sees_patients": sees_patients}
    return _insert(batch, actor, "set-up" if first else "user-added", said, credentials)


@operation(priority=Priority.SETTLE)
def take_in(batch: Batch, identity: Identity, address: str) -> int:
    """The user of an identity, with today's role; return the id. A new one is added: under another name, where a user
    has that one already, or it cannot be shown.

    Raises:
        LogInError: this user is disabled, or no admin has a password: one must be able to come in without the provider.
    """
    row = batch.execute(
        "SELECT id, name, role, sees_patients, disabled FROM app_user WHERE issuer = ? AND subject = ?",
        (identity.issuer, identity.subject),
    ).fetchone()
    said = {"role": identity.role, "sees_patients": identity.sees_patients, "issuer": identity.issuer}
    if row is None:
        if batch.execute(
            "SELECT 1 FROM app_user WHERE role = 'admin' AND disabled = 0 AND issuer = ''"
        ).fetchone() is None:  # fmt: skip
            raise LogInError(NO_ADMIN)
        name = _free_name(batch, identity)
        actor = Actor(name, role=identity.role, **{"from": address})
        return _insert(batch, actor, "user-added", {"user": name, **said}, Credentials(), identity.subject)
    user, name, role, sees, disabled = row
    if disabled:
        raise LogInError(KEPT_OUT)
    if (role, bool(sees)) != (identity.role, identity.sees_patients):
        batch.execute(
            "UPDATE app_user SET role = ?, sees_patients = ? WHERE id = ?",
            (identity.role, identity.sees_patients, user),
        )
        actor = Actor(name, role=identity.role, **{"from": address})
        audit.note(batch, actor, "user-role", {"user": name, "before": role, **said})
    return int(user)


def _free_name(batch: Batch, identity: Identity) -> str:
    mark = sha256(f"{identity.issuer}\n{identity.subject}".encode()).hexdigest()[:8]
    plain = " ".join(identity.name.replace(":", " ").split())
    for name in (plain, f"{plain[: LONGEST_NAME - len(mark) - 3]} ({mark})"):
        with suppress(RefusedError):
            shown = shown_name(name)
            if batch.execute("SELECT 1 FROM app_user WHERE name_key = ?", (name_key(shown),)).fetchone() is None:
                return shown
    return f"user {mark}"


def _count(batch: Batch) -> int:
    return int(batch.execute("SELECT count(*) FROM app_user").fetchone()[0])


def _insert(
    batch: Batch, actor: str, verb: str, said: Mapping[str, Any], credentials: Credentials, subject: str = ""
) -> int:
    if (count := _count(batch)) >= MOST_USERS:
        raise RefusedError(f"there are {count} users, which is the most; remove one first")
    user, name = audit.note(batch, actor, verb, dict(said)), said["user"]
    batch.execute(
        "INSERT INTO app_user (id, name, name_key, role, sees_patients, disabled, credentials, created_us,"
        " logged_in_us, issuer, subject) VALUES (?, ?, ?, ?, ?, 0, ?, ?, 0, ?, ?)",
        (user, name, name_key(name), said["role"], said["sees_patients"], _sealed(batch, user, credentials),
         batch.now_us, said.get("issuer", ""), subject),
    )  # fmt: skip
    return user


@operation(priority=Priority.SETTLE)
def set_role(batch: Batch, user: int, role: str, actor: str) -> None:
    name, before = _one(batch, user, "role")
    if role != "admin":
        _raise_if_last_admin(batch, user, name)
    batch.execute("UPDATE app_user SET role = ? WHERE id = ?", (role, user))
    audit.note(batch, actor, "user-role", {"user": name, "role": role, "before": before})


@operation(priority=Priority.SETTLE)
def let_see_patients(batch: Batch, user: int, actor: str, *, sees: bool) -> None:
    name, _ = _one(batch, user, "sees_patients")
    batch.execute("UPDATE app_user SET sees_patients = ? WHERE id = ?", (sees, user))
    audit.note(batch, actor, "user-grant", {"user": name, "sees_patients": sees})


@operation(priority=Priority.SETTLE)
def set_language(batch: Batch, user: int, language: str) -> None:
    """The language of the user's pages; empty: as the browser asks. No row of the audit trail: it changes no right."""
    batch.execute("UPDATE app_user SET language = ? WHERE id = ?", (language, user))


@operation(priority=Priority.SETTLE)
def disable(batch: Batch, user: int, actor: str, *, disabled: bool) -> None:
    """Keep a user out, or let them in again; sessions of a disabled user end."""
    name, _ = _one(batch, user, "disabled")
    if disabled:
        _raise_if_last_admin(batch, user, name)
        end_sessions(batch, user)
    batch.execute("UPDATE app_user SET disabled = ? WHERE id = ?", (disabled, user))
    audit.note(batch, actor, "user-disabled" if disabled else "user-enabled", {"user": name})


@operation(priority=Priority.SETTLE)
def remove(batch: Batch, user: int, actor: str) -> None:
    """Remove a user; the audit trail keeps the name."""
    name, _ = _one(batch, user, "role")
    _raise_if_last_admin(batch, user, name)
    end_sessions(batch, user)
    forget_refusals(batch, user)
    batch.execute("DELETE FROM app_user WHERE id = ?", (user,))
    batch.execute("DELETE FROM todo_look WHERE user = ?", (user,))
    audit.note(batch, actor, "user-removed", {"user": name})


@operation(priority=Priority.SETTLE)
def set_credentials(
    batch: Batch, user: int, credentials: Credentials, actor: str, verb: str, *, keeps: bytes | None
) -> None:
    """Replace the credentials.

    Args:
        verb: of the audit trail.
        keeps: None: all sessions stay; else all end but this one (SHA-256 of its secret), and refusals are forgotten.
    """
    name, _ = _one(batch, user, "role")
    put_credentials(batch, user, credentials)
    if keeps is not None:
        end_sessions(batch, user, keeps)
        forget_refusals(batch, user)
    audit.note(batch, actor, verb, {"user": name})


def put_credentials(batch: Batch, user: int, credentials: Credentials) -> None:
    batch.execute("UPDATE app_user SET credentials = ? WHERE id = ?", (_sealed(batch, user, credentials), user))


def end_sessions(batch: Batch, user: int, but: bytes = b"") -> None:
    """End the sessions of a user; each browser of theirs needs a full log-in."""
    batch.execute("DELETE FROM log_in_session WHERE user = ? AND token <> ?", (user, but))
    batch.execute("DELETE FROM log_in_device WHERE user = ?", (user,))


def forget_refusals(batch: Batch, user: int) -> None:
    batch.execute("DELETE FROM failed_log_in WHERE user = ?", (user,))


def _one(batch: Batch, user: int, column: str) -> tuple[str, Any]:
    row = batch.execute(f"SELECT name, {column} FROM app_user WHERE id = ?", (user,)).fetchone()  # noqa: S608 - ours
    if row is None:
        raise LabRelayError("there is no such user any more")
    return row[0], row[1]


def _raise_if_last_admin(batch: Batch, user: int, name: str) -> None:
    rows = batch.execute(
        "SELECT id FROM app_user WHERE role = 'admin' AND disabled = 0 AND issuer = '' LIMIT 2"
    ).fetchall()
    if rows == [(user,)]:
        raise RefusedError(f"{name} is the last admin: make another user an admin first")


def _sealed(batch: Batch, user: int, credentials: Credentials) -> bytes:
    return batch.seal(NOTE_KEYS, orjson.dumps(asdict(credentials)), COLUMN, user, "")
