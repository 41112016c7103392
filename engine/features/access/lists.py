"""Users, their log-in sessions, and tokens; never a secret or a hash."""

from engine.features.access.rules.accounts import ApiToken, LogInSession, User
from engine.views.view import Field, View, at

USER = View[User](
    "users",
    Field("name", "NAME"),
    Field("role", "ROLE"),
    Field("sees_patients", "PATIENTS", shown=lambda one: "seen" if one.sees_patients else ""),
    Field("second_factor", "2ND FACTOR", of=lambda one: bool(one.credentials.totp), shown=lambda one: _factor(one)),
    Field("pin", of=lambda one: bool(one.credentials.pin)),
    Field("recovery_codes", of=lambda one: len(one.credentials.recovery)),
    Field("disabled", "STATE", shown=lambda one: "disabled" if one.disabled else ""),
    Field("created", of=at("created_us")),
    Field("logged_in", "LAST LOG-IN", of=at("logged_in_us")),
)
SESSION = View[LogInSession](
    "sessions",
    Field("number", "SESSION", right=True),
    Field("how", "BY"),
    Field("from", "FROM", of="address"),
    Field("began", "BEGAN", of=at("began_us")),
    Field("seen", "LAST SEEN", of=at("seen_us")),
    Field("ends", of=at("ends_us")),
)
TOKEN = View[ApiToken](
    "tokens",
    Field("name", "NAME"),
    Field(
        "permissions",
        "MAY",
        of=lambda one: sorted(one.permissions),
        shown=lambda one: " ".join(sorted(one.permissions)),
    ),
    Field("units", "UNITS", of=lambda one: list(one.units), shown=lambda one: " ".join(one.units)),
    Field("made_by", "MADE BY"),
    Field("created", of=at("created_us")),
    Field("ends", "ENDS", of=at("ends_us")),
    Field("used", "LAST USED", of=at("used_us")),
    Field("used_from", "FROM"),
)


def _factor(one: User) -> str:
    return f"on, {len(one.credentials.recovery)} recovery codes" if one.credentials.totp else ""
