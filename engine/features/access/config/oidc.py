"""The part ``access: oidc:``: people log in to the page at an identity provider (OpenID Connect)."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from engine.config.destination_auth import host_in_clear
from engine.config.values import FilePath, Flag, Model, SecretName, Text, WebAddress, Words, distinct, listed
from engine.model.phrases import N_

BACK = "/log-in/oidc/back"  # the page that the provider sends browsers back to
Role = Literal["viewer", "operator", "engineer", "admin"]
Listed = Annotated[tuple[Text, ...], BeforeValidator(listed), AfterValidator(distinct), Words("text, or list of texts")]


def _issuer(text: str) -> str:
    if host_in_clear(text):
        raise ValueError("an identity provider needs https://; http:// is for one on this machine alone")
    if "?" in text or "#" in text:
        raise ValueError("an issuer is an address without ? and #")
    return text


class OidcConfig(Model):
    """Log-in at an identity provider, by the authorization code flow with PKCE."""

    issuer: Annotated[WebAddress, AfterValidator(_issuer)]
    """The provider, letter by letter as it names itself: `https://login.lab.example/realms/lab`."""

    client_id: Text
    """The name under which the provider knows LabRelay."""

    client_secret: SecretName | None = None
    """The secret of `client_id`, by name only; without it LabRelay is a public client, which PKCE protects."""

    title: Text = N_("Single sign-on")
    """What the link of the log-in page says."""

    scope: Text = "openid profile"
    """What the provider is asked for; `openid` is always in it. Some give groups for a scope `groups` only."""

    groups: Text = "groups"
    """The claim of the ID token with a person's groups; with dots for one inside another, as `realm_access.roles`."""

    roles: dict[Text, Role] = Field(min_length=1)
    """Group -> role. Of several the one with the most permissions counts; a person without one is refused."""

    see_patients: Listed = ()
    """Groups whose members see patients besides."""

    domains: Listed = ()
    """Only accounts of these domains: the claim `hd`, or the address of a verified `email`. By default any."""

    subjects: Listed = ()
    """Only these accounts, by the claim `sub`. By default any."""

    single_sign_on: Flag = False
    """`true`: who has logged in at the provider is in without another look. By default each log-in
    is proven anew, as a computer that several people share needs it: the provider is asked for it (`prompt=login`,
    `max_age=0`), and its ID token has to say when (`auth_time`)."""

    ca: FilePath | None = None
    """PEM file with the authority to trust for the provider; without it, the system's."""
