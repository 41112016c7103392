"""Verbs for users and tokens."""

from engine.actions.control import Request
from engine.actions.running_site import Result, RunningSite
from engine.runtime.control_requests import NewToken, NewUser, OneToken, UserChange


async def add_user(site: RunningSite, request: Request, asked: NewUser) -> Result:
    user = await site.accounts.users.add(
        asked.name, asked.role, asked.password, by=request.actor, sees_patients=asked.sees_patients
    )
    site.accounts.set_up.withdraw()
    return {"user": user.name}


async def change_user(site: RunningSite, request: Request, asked: UserChange) -> Result:
    users, by = site.accounts.users, request.actor
    name = (await users.named(asked.name)).name
    match asked.do:
        case "role":
            await users.set_role(name, asked.value, by=by)
        case "see-patients":
            await users.let_see_patients(name, asked.value == "on", by=by)
        case "password":
            await users.set_password(name, asked.value, by=by)
        case "second-factor-off":
            await users.drop_second_factor(name, by=by)
        case "disable" | "enable":
            await users.disable(name, asked.do == "disable", by=by)
        case "remove":
            await users.remove(name, by=by)
    return {"user": name}


async def add_token(site: RunningSite, request: Request, asked: NewToken) -> Result:
    permissions = frozenset(asked.permissions)
    secret = await site.accounts.tokens.create(asked.name, permissions, ends_us=asked.ends_us, by=request.actor)
    return {"token": asked.name, "secret": secret}


async def revoke_token(site: RunningSite, request: Request, asked: OneToken) -> Result:
    await site.accounts.tokens.revoke(asked.name, by=request.actor)
    return {"token": asked.name}
