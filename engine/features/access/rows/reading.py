"""Read the accounts: users, sessions, browsers, tokens; and how long a log-in has to wait."""

from collections.abc import Sequence

import orjson

from engine.features.access.rows.users import COLUMN
from engine.features.access.rules.accounts import ApiToken, Credentials, Device, Known, LogInSession, User
from engine.model.errors import IntegrityError
from engine.model.site.permissions import Permission
from engine.store.core.vault import Vault
from engine.store.queries.reader import Reader


def known(reader: Reader) -> Known:
    """All accounts, in one snapshot. There are at most a few thousand rows."""
    with reader.snapshot() as execute:
        rows = execute(
            "SELECT id, name, name_key, role, sees_patients, disabled, credentials, created_us, logged_in_us,"
            " issuer, subject, language FROM app_user ORDER BY name_key"
        ).fetchall()
        users = {
            row_id: User(
                id=row_id,
                name=name,
                role=role,
                sees_patients=bool(sees_patients),
                disabled=bool(disabled),
                credentials=_credentials(reader.vault, sealed, row_id),
                created_us=created_us,
                logged_in_us=logged_in_us,
                issuer=issuer,
                subject=subject,
                language=language,
            )
            for (
                row_id,
                name,
                _,
                role,
                sees_patients,
                disabled,
                sealed,
                created_us,
                logged_in_us,
                issuer,
                subject,
                language,
            ) in rows
        }
        sessions = execute(
            "SELECT token, number, user, address, how, began_us, seen_us, ends_us, kept FROM log_in_session"
        ).fetchall()
        devices = execute("SELECT device, user, number, pin_until_us, wrong_pins FROM log_in_device").fetchall()
        tokens = execute(
            "SELECT name, token, permissions, made_by, created_us, ends_us, used_us, used_from, units FROM api_token"
            " ORDER BY name"
        ).fetchall()
    return Known(
        users=users,
        names={row[2]: row[0] for row in rows},
        sessions={
            token: LogInSession(
                token=token, number=number, user=user, address=address, how=how, began_us=began_us, seen_us=seen_us,
                ends_us=ends_us, kept=kept,
            )
            for token, number, user, address, how, began_us, seen_us, ends_us, kept in sessions
        },
        devices={
            (device, user): Device(number=number, pin_until_us=until_us, wrong_pins=wrong_pins)
            for device, user, number, until_us, wrong_pins in devices
        },
        tokens={
            token: ApiToken(
                name=name, token=token, permissions=frozenset(Permission(word) for word in words.split()),
                made_by=made_by, created_us=created_us, ends_us=ends_us, used_us=used_us, used_from=used_from,
                units=tuple(units.split()),
            )
            for name, token, words, made_by, created_us, ends_us, used_us, used_from, units in tokens
        },
    )  # fmt: skip


def has_users(reader: Reader) -> bool:
    return bool(reader.row("SELECT EXISTS (SELECT 1 FROM app_user)")[0])


def locked_until_us(reader: Reader, origins: Sequence[bytes]) -> int:
    """Until when a log-in of these origins is refused without a look; 0: it is not."""
    marks = ",".join("?" * len(origins))
    row = reader.row(f"SELECT max(until_us) FROM failed_log_in WHERE origin IN ({marks})", origins)  # noqa: S608
    return int(row[0] or 0)


def _credentials(vault: Vault, sealed: bytes, user: int) -> Credentials:
    """None that anything proves, where they are damaged: this user gets a new password, and others are not kept out."""
    try:
        found = orjson.loads(vault.open(sealed, COLUMN, user, ""))
    except IntegrityError:
        return Credentials()
    return Credentials(**{**found, "recovery": tuple(found["recovery"])})
