"""What the frame of the pages asks about accounts: who a secret belongs to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from engine.model.permissions import Principal


class User(Protocol):
    """A person who may log in.

    Attributes:
        language: of the pages, as `engine.web.languages` has it; empty: as the browser asks.
    """

    @property
    def id(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def role(self) -> str: ...
    @property
    def language(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Who asks in a session.

    Attributes:
        ends_us: when it ends if no person asks again.
        latest_us: when it ends in any case.
    """

    principal: Principal
    user: User
    ends_us: int
    latest_us: int


class Users(Protocol):
    async def list(self) -> Sequence[User]: ...


class Accounts(Protocol):
    """Who a secret belongs to."""

    @property
    def users(self) -> Users: ...
    async def principal_of_token(self, secret: str, *, address: str) -> Principal | None: ...
    async def principal_of_session(self, secret: str, *, address: str, by_person: bool) -> Session | None: ...
