"""Log-in sessions and the browsers that they are in.

Refused ones are counted in the store, so that a restart does not forget them, and within bounds. The next log-in of the
same origin has to wait, longer with each refusal (`engine.features.access.rules.accounts.delay_us`). The audit trail
gets one row a while for each user, and one for all names that are no user's: trying passwords does not fill it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from engine.features.access.rows import users
from engine.features.access.rules.accounts import FORGOTTEN_US, Credentials, delay_us
from engine.model.errors import LogInError
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.operations import audit

MOST_ORIGINS = 10_000  # of addresses and of names that are no user's
NOTED_EVERY_US = 600_000_000


@dataclass(frozen=True, slots=True)
class Origin:
    """What refusals are counted by.

    Attributes:
        token: its keyed hash.
        user: the id; 0: an address, or a name that is no user's.
        free: as in `engine.features.access.rules.accounts.delay_us`.
    """

    token: bytes
    user: int
    free: int


@operation(priority=Priority.SETTLE)
def refuse(batch: Batch, user: int, name: str, actor: str, origins: Sequence[Origin], times: int = 1) -> None:
    """Count a refused log-in.

    Args:
        user, name: whose log-in it was meant to be; 0 and empty: no user has the name.
        times: refusals for the audit trail: this one, and those that were refused without a look since the last call.
    """
    for origin in origins:
        _count(batch, origin)
    row = batch.execute("SELECT noted_us, n FROM refused_log_in WHERE user = ?", (user,)).fetchone()
    noted_us, before = row or (0, 0)
    times += before
    if 0 <= batch.now_us - noted_us < NOTED_EVERY_US:
        batch.execute("UPDATE refused_log_in SET n = ? WHERE user = ?", (times, user))
        return
    audit.note(batch, actor, "log-in-refused", {"user": name or None, "times": times})
    batch.execute("INSERT OR REPLACE INTO refused_log_in (user, noted_us, n) VALUES (?, ?, 0)", (user, batch.now_us))


def taken(batch: Batch, user: int) -> int:
    """The refusals that no row of the audit trail has yet; the caller's row has them."""
    row = batch.execute("DELETE FROM refused_log_in WHERE user = ? RETURNING n", (user,)).fetchone()
    return int(row[0]) if row else 0


def _count(batch: Batch, origin: Origin) -> None:
    now_us = batch.now_us
    row = batch.execute("SELECT n, last_us FROM failed_log_in WHERE origin = ?", (origin.token,)).fetchone()
    n = 1 + (row[0] if row and now_us - row[1] < FORGOTTEN_US else 0)
    batch.execute(
        "INSERT OR REPLACE INTO failed_log_in (origin, user, n, last_us, until_us) VALUES (?, ?, ?, ?, ?)",
        (origin.token, origin.user, n, now_us, now_us + delay_us(n, origin.free)),
    )
    if row is None:
        batch.execute("DELETE FROM failed_log_in WHERE last_us <= ?", (now_us - FORGOTTEN_US,))
        batch.execute(
            "DELETE FROM failed_log_in WHERE origin IN"
            " (SELECT origin FROM failed_log_in WHERE user = 0 ORDER BY last_us DESC LIMIT -1 OFFSET ?)",
            (MOST_ORIGINS,),
        )


MOST_OF_USER = 10  # sessions of one user; the one that was begun first ends
MOST_DEVICES = 20  # browsers of one user that are known
DEVICE_US = 90 * 86_400_000_000  # a browser without a log-in is forgotten


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession:
    """A session that begins.

    Attributes:
        token: SHA-256 of its secret.
        device, was_device: SHA-256 of the browser's secret from now on, and until now (empty: it had none).
        pin_until_us: until when a PIN suffices on the device; 0: as before.
        credentials: the new ones, where the log-in changed them.
        leaves: SHA-256 of the secret of a session that ends with it; empty: none.
        refused: refusals that were not counted in the store yet.
        kept: as `LogInSession` has it.
    """

    user: int
    name: str
    token: bytes = field(repr=False)
    device: bytes = field(repr=False)
    was_device: bytes = field(repr=False)
    address: str
    how: str
    ends_us: int
    idle_us: int
    pin_until_us: int = 0
    credentials: Credentials | None = field(default=None, repr=False)
    leaves: bytes = field(default=b"", repr=False)
    refused: int = 0
    kept: str = field(default="", repr=False)


@operation(priority=Priority.SETTLE)
def begin(batch: Batch, new: NewSession, actor: str, origins: Sequence[bytes]) -> int:
    """Begin a session; return its number.

    Args:
        origins: under which refusals are forgotten.

    Raises:
        LogInError: the user was disabled or removed since the password was looked at.
    """
    now_us, user = batch.now_us, new.user
    if batch.execute("SELECT 1 FROM app_user WHERE id = ? AND disabled = 0", (user,)).fetchone() is None:
        raise LogInError("this user may not log in any more")
    refused = taken(batch, user) + new.refused
    said = {"user": new.name, "how": new.how, **({"refused_before": refused} if refused else {})}
    number = audit.note(batch, actor, "log-in", said)
    batch.execute("DELETE FROM log_in_session WHERE token = ?", (new.leaves,))
    batch.execute("DELETE FROM log_in_session WHERE ends_us <= ? OR seen_us <= ?", (now_us, now_us - new.idle_us))
    batch.execute(
        "INSERT INTO log_in_session (token, number, user, address, how, began_us, seen_us, ends_us, kept)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (new.token, number, user, new.address, new.how, now_us, now_us, new.ends_us, new.kept),
    )
    batch.execute(
        "DELETE FROM log_in_session WHERE user = ?1 AND number NOT IN"
        " (SELECT number FROM log_in_session WHERE user = ?1 ORDER BY number DESC LIMIT ?2)",
        (user, MOST_OF_USER),
    )
    if new.credentials is not None:
        users.put_credentials(batch, user, new.credentials)
    batch.execute("UPDATE app_user SET logged_in_us = ? WHERE id = ?", (now_us, user))
    _remember(batch, new, number)
    batch.executemany("DELETE FROM failed_log_in WHERE origin = ?", [(origin,) for origin in origins])
    return number


def _remember(batch: Batch, new: NewSession, number: int) -> None:
    batch.execute("UPDATE log_in_device SET device = ? WHERE device = ?", (new.device, new.was_device))
    batch.execute(
        "INSERT INTO log_in_device (device, user, number, seen_us, pin_until_us, wrong_pins) VALUES (?, ?, ?, ?, ?, 0)"
        " ON CONFLICT DO UPDATE SET seen_us = excluded.seen_us, wrong_pins = 0,"
        " pin_until_us = max(pin_until_us, excluded.pin_until_us)",
        (new.device, new.user, number, batch.now_us, new.pin_until_us),
    )
    batch.execute("DELETE FROM log_in_device WHERE seen_us <= ?", (batch.now_us - DEVICE_US,))
    batch.execute(
        "DELETE FROM log_in_device WHERE user = ?1 AND device NOT IN"
        " (SELECT device FROM log_in_device WHERE user = ?1 ORDER BY seen_us DESC LIMIT ?2)",
        (new.user, MOST_DEVICES),
    )


@operation(priority=Priority.SETTLE)
def wrong_pin(batch: Batch, device: bytes, user: int, most: int) -> None:
    """Count a wrong PIN; after ``most`` in a row this user needs a full log-in on this device."""
    batch.execute(
        "UPDATE log_in_device SET wrong_pins = wrong_pins + 1,"
        " pin_until_us = CASE WHEN wrong_pins + 1 >= ? THEN 0 ELSE pin_until_us END WHERE device = ? AND user = ?",
        (most, device, user),
    )


@operation(priority=Priority.SETTLE, can_linger=True)
def seen(batch: Batch, token: bytes, at_us: int) -> None:
    """Note when a person last asked in this session."""
    batch.execute("UPDATE log_in_session SET seen_us = ? WHERE token = ?", (at_us, token))


@operation(priority=Priority.SETTLE)
def renew(batch: Batch, token: bytes, new: bytes) -> bool:
    """Give a session another secret; return False where it has ended."""
    return batch.execute("UPDATE log_in_session SET token = ? WHERE token = ?", (new, token)).rowcount > 0


@operation(priority=Priority.SETTLE)
def end(batch: Batch, number: int, actor: str, verb: str) -> bool:
    """End a session; return False where it has ended before. ``verb``: of the audit trail."""
    row = batch.execute(
        "DELETE FROM log_in_session WHERE number = ? RETURNING (SELECT name FROM app_user WHERE id = user)", (number,)
    ).fetchone()
    if row is None:
        return False
    audit.note(batch, actor, verb, {"user": row[0], "session": number})
    return True
