"""The keys of this feature in the site's files.

The keys of access in `labrelay help keys`.

The part ``access:`` of the site's file: who may give commands to the running daemon, and how people log in.

The part ``access: oidc:``: people log in to the page at an identity provider (OpenID Connect).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from engine.config.destinations.destination_auth import host_in_clear
from engine.config.reading import values
from engine.config.reading.joining import Behind, Block, KeyHelp, part
from engine.config.sitewide import Server, SiteConfig
from engine.model.site.permissions import ROLE, ROLES, Permission
from engine.model.texts.phrases import N_

BACK = "/log-in/oidc/back"  # the page that the provider sends browsers back to
Role = Annotated[str, StringConstraints(pattern=ROLE), values.Words("role, or roles in units as east:viewer")]
Listed = Annotated[
    tuple[values.Text, ...],
    BeforeValidator(values.listed),
    AfterValidator(values.distinct),
    values.Words("text, or list of texts"),
]


def _issuer(text: str) -> str:
    if host_in_clear(text):
        raise ValueError("an identity provider needs https://; http:// is for one on this machine alone")
    if "?" in text or "#" in text:
        raise ValueError("an issuer is an address without ? and #")
    return text


class OidcConfig(values.Model):
    """Log-in at an identity provider, by the authorization code flow with PKCE."""

    issuer: Annotated[values.WebAddress, AfterValidator(_issuer)]
    """The provider, letter by letter as it names itself: `https://login.lab.example/realms/lab`."""

    client_id: values.Text
    """The name under which the provider knows LabRelay."""

    client_secret: values.SecretName | None = None
    """The secret of `client_id`, by name only; without it LabRelay is a public client, which PKCE protects."""

    title: values.Text = N_("Single sign-on")
    """What the link of the log-in page says."""

    scope: values.Text = "openid profile"
    """What the provider is asked for; `openid` is always in it. Some give groups for a scope `groups` only."""

    groups: values.Text = "groups"
    """The claim of the ID token with a person's groups; with dots for one inside another, as `realm_access.roles`."""

    roles: dict[values.Text, Role] = Field(min_length=1)
    """Group -> role, or roles in units of the site, as `{east-lab: "east:operator"}`. A person without one is refused.
    Of several the one with the most permissions counts; where all are of units, they count together."""

    see_patients: Listed = ()
    """Groups whose members see patients besides."""

    domains: Listed = ()
    """Only accounts of these domains: the claim `hd`, or the address of a verified `email`. By default any."""

    subjects: Listed = ()
    """Only these accounts, by the claim `sub`. By default any."""

    single_sign_on: values.Flag = False
    """`true`: who has logged in at the provider is in without another look. By default each log-in
    is proven anew, as a computer that several people share needs it: the provider is asked for it (`prompt=login`,
    `max_age=0`), and its ID token has to say when (`auth_time`)."""

    ca: values.FilePath | None = None
    """PEM file with the authority to trust for the provider; without it, the system's."""


def _with_a_role(names: tuple[str, ...]) -> tuple[str, ...]:
    if not ROLES.keys() & set(names):
        raise ValueError(f"{', '.join(names)} is given besides a role; the roles are {', '.join(ROLES)}")
    return names


Account = Annotated[
    str, StringConstraints(pattern=r"^%?[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}$"), values.Words("account or %group")
]


ALL_USERS = "required"
Demanded = Annotated[
    tuple[Literal["required", "viewer", "operator", "engineer", "admin", "see-patients"], ...],
    BeforeValidator(values.listed),
    AfterValidator(values.distinct),
    values.Words("required, a role, or list of roles"),
]


class AccessConfig(values.Model):
    """Who may do which thing: system users who may give commands, and what a log-in to the page needs."""

    system_users: dict[Account, Annotated[values.Roles, AfterValidator(_with_a_role)]] = Field(default_factory=dict)
    """Accounts of this machine, and groups (`"%lab"`), with the role of each: `viewer`, `operator`, `engineer` or
    `admin`, and `see-patients` besides, as `[engineer, see-patients]`. They also need the group of the service."""

    second_factor: Demanded = ()
    """Who needs a second factor on the page: `required` for all users, or roles, as `[admin, see-patients]`. A user
    without one has to set it up at the next log-in before anything else. By default it is offered."""

    oidc: OidcConfig | None = None
    """Log-in at an identity provider, beside the passwords of the page."""

    def demands_second_factor(self, roles: Iterable[str], *, sees_patients: bool) -> bool:
        """Whether a user with these roles needs one."""
        demanded = set(self.second_factor)
        return bool(demanded & {ALL_USERS, *roles}) or (sees_patients and Permission.PATIENTS.value in demanded)


class AccessKeys(values.Model):
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


KEYS = KeyHelp({"access": (Block("`access:`", [AccessConfig]), Block("`access: oidc:`", [OidcConfig]))})
