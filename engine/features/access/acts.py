"""Acts on users and tokens."""

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field

from engine.actions.control import Request
from engine.actions.declaring import Declared
from engine.actions.running_site import Result, RunningSite
from engine.features.access.service.accounts import Accounts
from engine.features.access.service.service import AccessService
from engine.model.errors import RefusedError
from engine.model.process.clock import SystemClock
from engine.model.site.permissions import ADMINISTERING, Permission, parts_of

ACTS = Declared(3)
Secret = Annotated[str, Field(repr=False)]


@ACTS.act("user_add", ADMINISTERING, not_in_api="its answer has a link that is shown once")
async def add_user(
    site: RunningSite,
    request: Request,
    *,
    name: str,
    role: str,
    password: Secret,
    sees_patients: bool = False,
) -> Result:
    accounts = _accounts(site)
    _raise_if_unknown(site, [unit for unit, _ in parts_of(role)])
    user = await accounts.users.add(name, role, password, by=request.actor, sees_patients=sees_patients)
    accounts.set_up.withdraw()
    return {"user": user.name}


@ACTS.act("user_change", ADMINISTERING, not_in_api="users are changed by people who have logged in")
async def change_user(
    site: RunningSite,
    request: Request,
    *,
    name: str,
    do: Literal["role", "see-patients", "password", "second-factor-off", "disable", "enable", "remove"],
    value: Secret = "",
) -> Result:
    """``value``: the role, the password, or yes as ``on``; empty where the change needs none."""
    users, by = _accounts(site).users, request.actor
    name = (await users.named(name)).name
    match do:
        case "role":
            _raise_if_unknown(site, [unit for unit, _ in parts_of(value)])
            await users.set_role(name, value, by=by)
        case "see-patients":
            await users.let_see_patients(name, value == "on", by=by)
        case "password":
            await users.set_password(name, value, by=by)
        case "second-factor-off":
            await users.drop_second_factor(name, by=by)
        case "disable" | "enable":
            await users.disable(name, do == "disable", by=by)
        case "remove":
            await users.remove(name, by=by)
    return {"user": name}


@ACTS.act("token_add", ADMINISTERING, not_in_api="its answer has a secret that is shown once")
async def add_token(
    site: RunningSite,
    request: Request,
    *,
    name: str,
    permissions: Annotated[list[Annotated[Permission, Field(strict=False)]], Field(min_length=1)],
    ends_us: int,
    units: Annotated[list[str], Field(default_factory=list)],
) -> Result:
    _raise_if_unknown(site, units)
    tokens = _accounts(site).tokens
    secret = await tokens.create(name, frozenset(permissions), ends_us=ends_us, by=request.actor, units=units)
    return {"token": name, "secret": secret}


@ACTS.act("token_revoke", ADMINISTERING, not_in_api="users are changed by people who have logged in")
async def revoke_token(site: RunningSite, request: Request, *, name: str) -> Result:
    await _accounts(site).tokens.revoke(name, by=request.actor)
    return {"token": name}


def _raise_if_unknown(site: RunningSite, units: Iterable[str]) -> None:
    known = site.loaded().config.site.units
    if unknown := [one for one in units if one and one not in known]:
        raise RefusedError(f"the site has no unit {unknown[0]}; site: units: has {', '.join(known) or 'none'}")


def _accounts(site: RunningSite) -> Accounts:
    if site.running is None:
        return Accounts(site.journal, SystemClock())
    return site.running.service(AccessService).accounts
