"""The part ``access:`` of the site's file: system users who may give commands to the running daemon."""

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from engine.config.values import Model, Roles, Words
from engine.model.permissions import ROLES


def _with_a_role(names: tuple[str, ...]) -> tuple[str, ...]:
    if not ROLES.keys() & set(names):
        raise ValueError(f"{', '.join(names)} is given besides a role; the roles are {', '.join(ROLES)}")
    return names


Account = Annotated[
    str, StringConstraints(pattern=r"^%?[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}$"), Words("account or %group")
]


class AccessConfig(Model):
    """System users who may give commands."""

    system_users: dict[Account, Annotated[Roles, AfterValidator(_with_a_role)]] = Field(default_factory=dict)
    """Accounts of this machine, and groups (`"%lab"`), with the role of each: `viewer`, `operator`, `engineer` or
    `admin`, and `see-patients` besides, as `[engineer, see-patients]`. They also need the group of the service."""
