"""The part ``access:`` of the site's file: who may give commands to the running daemon, and how people log in."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from engine.config.joining import Behind, part
from engine.config.sitewide import Server, SiteConfig
from engine.config.values import Model, Roles, Words, distinct, listed
from engine.features.access.config.oidc import OidcConfig
from engine.model.permissions import ROLES, Permission


def _with_a_role(names: tuple[str, ...]) -> tuple[str, ...]:
    if not ROLES.keys() & set(names):
        raise ValueError(f"{', '.join(names)} is given besides a role; the roles are {', '.join(ROLES)}")
    return names


Account = Annotated[
    str, StringConstraints(pattern=r"^%?[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}$"), Words("account or %group")
]


ALL_USERS = "required"
Demanded = Annotated[
    tuple[Literal["required", "viewer", "operator", "engineer", "admin", "see-patients"], ...],
    BeforeValidator(listed),
    AfterValidator(distinct),
    Words("required, a role, or list of roles"),
]


class AccessConfig(Model):
    """Who may do which thing: system users who may give commands, and what a log-in to the page needs."""

    system_users: dict[Account, Annotated[Roles, AfterValidator(_with_a_role)]] = Field(default_factory=dict)
    """Accounts of this machine, and groups (`"%lab"`), with the role of each: `viewer`, `operator`, `engineer` or
    `admin`, and `see-patients` besides, as `[engineer, see-patients]`. They also need the group of the service."""

    second_factor: Demanded = ()
    """Who needs a second factor on the page: `required` for all users, or roles, as `[admin, see-patients]`. A user
    without one has to set it up at the next log-in before anything else. By default it is offered."""

    oidc: OidcConfig | None = None
    """Log-in at an identity provider, beside the passwords of the page."""

    def demands_second_factor(self, role: str, *, sees_patients: bool) -> bool:
        """Whether a user with this role needs one."""
        demanded = set(self.second_factor)
        return bool(demanded & {ALL_USERS, role}) or (sees_patients and Permission.PATIENTS.value in demanded)


class AccessKeys(Model):
    """Keys of the site's file."""

    access: Annotated[AccessConfig, Behind("web")] = Field(default_factory=AccessConfig)
    """Who may give commands, and how people log in."""

    @model_validator(mode="after")
    def _known_to_the_provider(self) -> Self:
        if self.access.oidc is not None and not part(self, SiteConfig).web.public_address:
            raise ValueError(
                "access: oidc needs the name of the page, which the provider sends browsers back to; add names to web:"
            )
        return self


def access_of(config: SiteConfig) -> AccessConfig:
    return part(config, AccessKeys).access


def system_users(config: SiteConfig) -> Mapping[str, Sequence[str]]:
    return access_of(config).system_users


def servers(config: SiteConfig) -> Iterator[Server]:
    """The identity provider."""
    if (oidc := access_of(config).oidc) is not None:
        yield Server(owner="access: oidc", path=("access", "oidc"), block=oidc, place=oidc.issuer)
