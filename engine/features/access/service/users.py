"""An admin's acts on users."""

import asyncio
from dataclasses import replace

from engine.features.access.rows import users
from engine.features.access.rules.accounts import Credentials, User, shown_name
from engine.features.access.service import passwords
from engine.features.access.service.directory import Directory
from engine.model.errors import LabRelayError, RefusedError
from engine.model.site.permissions import ROLES
from engine.model.texts.phrases import R_


class Users:
    """Adds, changes and removes users. ``by`` is who acts, an `Actor`.

    Each method raises LabRelayError where there is no user of that name, RefusedError where a rule is against it: the
    password is weak, the role is unknown, or it is the last admin.
    """

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    async def add(
        self,
        name: str,
        role: str,
        password: str,
        *,
        by: str,
        sees_patients: bool = False,
        first: bool = False,
        given: bool = False,
    ) -> User:
        """Add a user.

        Args:
            first: only while there is none.
            given: another person chose the password (`Credentials.given`).
        """
        shown = shown_name(name)
        _raise_if_unknown(role)
        passwords.raise_if_weak(password, shown)
        async with self._directory.changing:
            encoded = await asyncio.to_thread(passwords.hash_of, password)
            credentials = Credentials(password=encoded, given=given)
            number = await self._directory.run(
                users.add, shown, role, credentials, by, sees_patients=sees_patients, first=first
            )
        return (await self._directory.known()).users[number]

    async def list(self) -> list[User]:
        """All users, by name."""
        return list((await self._directory.known()).users.values())

    async def named(self, name: str) -> User:
        if (found := (await self._directory.known()).named(name)) is None:
            raise LabRelayError(f"there is no user {name}; labrelay user list shows all")
        return found

    async def _of_ours(self, name: str) -> User:
        """A user whose role and password are kept here."""
        user = await self.named(name)
        if user.issuer:
            raise RefusedError(
                R_("role, patients and password of this user are the identity provider's; change them there")
            )
        return user

    async def set_role(self, name: str, role: str, *, by: str) -> None:
        _raise_if_unknown(role)
        await self._directory.run(users.set_role, (await self._of_ours(name)).id, role, by)

    async def let_see_patients(self, name: str, sees: bool, *, by: str) -> None:
        await self._directory.run(users.let_see_patients, (await self._of_ours(name)).id, by, sees=sees)

    async def disable(self, name: str, disabled: bool, *, by: str) -> None:
        """Keep a user out at once, or let them in again."""
        await self._directory.run(users.disable, (await self.named(name)).id, by, disabled=disabled)

    async def remove(self, name: str, *, by: str) -> None:
        await self._directory.run(users.remove, (await self.named(name)).id, by)

    async def set_password(self, name: str, password: str, *, by: str, given: bool = False) -> None:
        """Give a user another password; all sessions of the user end, and a lock-out does. ``given``: as of `add`."""
        async with self._directory.changing:
            user = await self._of_ours(name)
            passwords.raise_if_weak(password, user.name)
            encoded = await asyncio.to_thread(passwords.hash_of, password)
            new = replace(user.credentials, password=encoded, given=given)
            await self._directory.run(users.set_credentials, user.id, new, by, "user-password", keeps=b"")

    async def drop_second_factor(self, name: str, *, by: str) -> None:
        """Take away a second factor whose phone is lost, with its recovery codes; all sessions of the user end."""
        async with self._directory.changing:
            user = await self._of_ours(name)
            if not user.credentials.totp:
                raise RefusedError(f"{user.name} has no second factor")
            new = replace(user.credentials, totp="", step=0, offered="", recovery=())
            await self._directory.run(users.set_credentials, user.id, new, by, "second-factor-off", keeps=b"")


def _raise_if_unknown(role: str) -> None:
    if role not in ROLES:
        raise RefusedError(f"there is no role {role}; roles: {', '.join(ROLES)}")
