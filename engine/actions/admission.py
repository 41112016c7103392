"""Who may give which verb of the control socket: the account at the other end, its roles, their permissions.

Root and the service's user have all permissions, for they can read and write the files anyway. Another account has the
roles that the site's file gives to it and to its groups (``access: system_users:``). A verb without permissions in the
table needs all of them.

A refused request is a row of the audit trail, at most one a minute for each account; the row counts those left out.
"""

import asyncio
import grp
import logging
import os
import pwd
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from engine.config.sitewide import SiteConfig
from engine.feature import Hook
from engine.model.errors import RefusedError, StoreError
from engine.model.site.actor import Actor, user_name
from engine.model.site.permissions import ALL, Permission, permissions_of

logger = logging.getLogger("labrelay.actions")

REFUSED_EVERY_S = 60.0
MAX_REFUSED = 256  # accounts whose refusals are counted
GIVEN_BY = "the person who keeps config/labrelay.yaml can give it (access: system_users)"
NO_ROLE = "no role"
UNSEEN = (
    65534  # is shown for all accounts outside of the daemon's user namespace (user_namespaces(7)), so it has no role
)

Roles = Mapping[str, Sequence[str]]  # of an account, or of a %group
GIVEN: Hook[Callable[[SiteConfig], Roles]] = Hook("system_users")


def system_users(config: SiteConfig) -> Roles:
    """The accounts and groups of this machine that the site's file gives roles to."""
    return {account: roles for given in GIVEN.each() for account, roles in given(config).items()}


@dataclass(frozen=True, slots=True)
class Person:
    """An account at the other end of the socket.

    Attributes:
        role: as the audit trail has it; of root and the service's user empty, since `of_process` names them.
    """

    uid: int
    role: str
    permissions: frozenset[Permission]


@dataclass(frozen=True, slots=True)
class _Refused:
    next_at: float  # monotonic; when the next row may be written
    left_out: int


def is_own(uid: int) -> bool:
    """Whether it is root or the service's own user."""
    return uid in (0, os.geteuid())


def roles_of(uid: int, given: Roles) -> list[str]:
    """The roles of an account: its own, and those of its groups. Asks the system's database of accounts."""
    if uid == UNSEEN:
        return []
    try:
        account = pwd.getpwuid(uid)
    except KeyError:
        return []
    names = [account.pw_name]
    for group in os.getgrouplist(account.pw_name, account.pw_gid):
        with suppress(KeyError):
            names.append(f"%{grp.getgrgid(group).gr_name}")
    return list(dict.fromkeys(role for name in names for role in given.get(name, ())))


async def _no_row(actor: str, what: dict[str, Any]) -> None:
    pass


class Refusals:
    """Requests that were refused: a row of the audit trail, at most one a minute for each that asks."""

    def __init__(self, note: Callable[[str, dict[str, Any]], Awaitable[None]] = _no_row) -> None:
        """``note``: writes the audit row."""
        self._note = note
        self._refused: dict[object, _Refused] = {}

    async def count(self, who: object, verb: str, missing: Set[str], actor: str) -> None:
        now = time.monotonic()
        known = self._refused.pop(who, _Refused(now, 0))
        if known.next_at > now:
            self._refused[who] = replace(known, left_out=known.left_out + 1)
            return
        while len(self._refused) >= MAX_REFUSED:
            del self._refused[next(iter(self._refused))]
        self._refused[who] = _Refused(now + REFUSED_EVERY_S, 0)
        left_out = {"left_out": known.left_out} if known.left_out else {}
        with suppress(StoreError):  # the log has it
            await self._note(actor, {"verb": verb, "missing": sorted(missing), **left_out})


class Admission:
    """The one place where a request of the socket is allowed or refused."""

    def __init__(
        self,
        needs: Mapping[str, frozenset[Permission]] = MappingProxyType({}),
        roles: Callable[[], Roles] = dict,
        note: Callable[[str, dict[str, Any]], Awaitable[None]] = _no_row,
    ) -> None:
        """
        Args:
            needs: of each verb.
            roles: asked for at each request, since a reload replaces them.
            note: writes the audit row of a refused request.
        """
        self._needs = needs
        self._roles = roles
        self._refusals = Refusals(note)

    async def person(self, uid: int) -> Person:
        """The account with its roles, in a thread: the database of accounts may be on another machine."""
        if is_own(uid):
            return Person(uid, "", ALL)
        roles = await asyncio.to_thread(roles_of, uid, self._roles())
        return Person(uid, ", ".join(roles) or NO_ROLE, permissions_of(roles))

    async def admit(self, person: Person, verb: str, actor: Actor) -> None:
        """
        Raises:
            RefusedError: a permission is missing; it says which, and who can give it.
        """
        missing = self._needs.get(verb, ALL) - person.permissions
        if not missing:
            return
        logger.warning("control request refused", extra={"uid": person.uid})
        await self._refusals.count(person.uid, verb, missing, actor)
        if person.uid == UNSEEN:
            raise RefusedError("the service cannot see which account asks (PrivateUsers= of its unit); use sudo")
        if person.role == NO_ROLE:
            raise RefusedError(f"{user_name(person.uid)} has no role here; {GIVEN_BY}, or use sudo")
        names = " and ".join(sorted(missing))
        raise RefusedError(f"{user_name(person.uid)} ({person.role}) lacks the permission {names}; {GIVEN_BY}")
