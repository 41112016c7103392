"""Whether log-in at the provider can work, for `labrelay check --online` and `labrelay doctor`; and who may act and not
say whose a held result is. No secret is said."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from email.utils import parsedate_to_datetime
from typing import Any

from engine.config.load import Site
from engine.features.access.client.provider import CLIENT_REFUSED, Provider
from engine.features.access.config import BACK, OidcConfig, access_of, system_users
from engine.features.access.rows.reading import known
from engine.model.errors import IdentityProviderError
from engine.model.process.clock import Clock, SystemClock
from engine.model.site.health import Health, Line
from engine.model.site.permissions import ACTING, EDITING, permissions_of
from engine.store.queries.reader import Reader
from engine.web.signed import ALGORITHMS, SKEW_S, usable_keys

SUBJECT = "identity provider"
USUAL_ALGORITHM = "RS256"  # where the document names none (OpenID Connect Discovery 1.0, 3)
WORDS = {
    "issuer of the document": "it names itself otherwise than issuer",
    "address of the document": "an address of its document is no https:// address",
    "client_secret is not set": "client_secret is not set in this shell",
    "keys": "its keys cannot be read",
    "no JSON object": "its answer is no JSON object",
    "too large": "its answer is too large",
    "TimeoutError": "it does not answer in time",
    "ClientConnectorCertificateError": "its certificate is not one that is trusted here: see ca",
    "ClientConnectorDNSError": "its name is not known here",
}
FIX = "correct access: oidc, or ask the person who administers the provider"


def rights(site: Site, reader: Callable[[], AbstractContextManager[Reader]], _: bool) -> Iterator[Line]:
    """Who may act without seeing patients.

    Raises:
        StoreError: the journal cannot be read.
    """
    with reader() as journal:
        accounts = known(journal)
    may = [(f"{name} (system user)", permissions_of(roles)) for name, roles in system_users(site.config).items()]
    may += [(user.name, user.permissions) for user in accounts.users.values() if not user.disabled]
    may += [(f"{token.name} (token)", token.permissions) for token in accounts.tokens.values()]
    if found := [name for name, permissions in may if permissions >= ACTING and not permissions >= EDITING]:
        text = f"these do not say whose a held result is, for they do not see patients: {', '.join(sorted(found))}"
        yield Line(Health.OK, "rights", text, "give see-patients to those who are to answer")


async def lines(site: Site) -> list[Line]:
    """As `examine`; nothing where the site has no provider."""
    oidc = access_of(site.config).oidc
    if oidc is None:
        return []
    return [line async for line in examine(oidc, site.config.web.public_address + BACK, SystemClock())]


async def examine(config: OidcConfig, way_back: str, clock: Clock) -> AsyncIterator[Line]:
    """One line for each thing that a log-in needs, in its order; after one that fails at the first step there is none.

    Args:
        way_back: the address of ours that the provider sends browsers back to.
    """
    provider = Provider(config)
    try:
        endpoints = await provider.endpoints()
        yield Line(Health.OK, SUBJECT, f"{config.issuer} answers and names itself so")
        yield _clock(provider.dated, clock)
        yield _keys(await provider.keys())
        for line in _document(endpoints.said):
            yield line
        if not endpoints.end_session:
            yield Line(Health.OK, SUBJECT, "it has no address for log-out: a log-out here ends no log-in there")
        yield await _way_back(provider, config, way_back)
        yield await _client(provider, way_back)
    except IdentityProviderError as error:
        said = WORDS.get(error.reason, error.reason)
        yield Line(Health.FAIL, SUBJECT, f"{config.issuer}: {said}", FIX)


def _clock(dated: str, clock: Clock) -> Line:
    try:
        apart_s = parsedate_to_datetime(dated).timestamp() - clock.now_us() / 1e6
    except (ValueError, OverflowError):
        return Line(Health.WARN, SUBJECT, "its answers do not say when they were made, so its clock is not known")
    if abs(apart_s) <= SKEW_S:
        return Line(Health.OK, SUBJECT, f"its clock and this one agree to {SKEW_S} s")
    said = f"its clock is {abs(apart_s):.0f} s {'ahead of' if apart_s > 0 else 'behind'} this one: log-ins are refused"
    return Line(Health.FAIL, SUBJECT, said, "set the clock of this computer by NTP (timedatectl set-ntp true)")


def _keys(keys: Sequence[Mapping[str, Any]]) -> Line:
    usable = usable_keys(keys)
    if usable:
        return Line(Health.OK, SUBJECT, f"keys for signatures: {usable}")
    said = "it has no key that is taken here: RSA of 2048 bits or more, or EC"
    return Line(Health.FAIL, SUBJECT, said, "let the provider sign ID tokens by RS256 or ES256")


def _document(said: Mapping[str, Any]) -> list[Line]:
    lines = []
    named = _texts(said.get("id_token_signing_alg_values_supported", [USUAL_ALGORITHM]))
    if not named & ALGORITHMS.keys():
        lines.append(
            Line(
                Health.FAIL,
                SUBJECT,
                f"it signs ID tokens by {', '.join(sorted(named)) or 'nothing'}; taken are {', '.join(ALGORITHMS)}",
                "let the provider sign ID tokens by RS256 or ES256",
            )
        )
    if "S256" not in _texts(said.get("code_challenge_methods_supported", ["S256"])):
        lines.append(Line(Health.WARN, SUBJECT, "it does not look at PKCE (S256)", "ask for it at the provider"))
    return lines


def _texts(given: object) -> set[str]:
    return {one for one in given if isinstance(one, str) and one.isprintable()} if isinstance(given, list) else set()


async def _way_back(provider: Provider, config: OidcConfig, way_back: str) -> Line:
    asked = {
        "response_type": "code", "client_id": config.client_id, "redirect_uri": way_back, "scope": "openid",
        "prompt": "none", "state": "examination", "nonce": "examination", "code_challenge_method": "S256",
        "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",  # RFC 7636, appendix B
    }  # fmt: skip
    if await provider.leads_back(asked):
        return Line(Health.OK, SUBJECT, f"it sends browsers back to {way_back}")
    said = f"it does not send browsers back to {way_back}"
    return Line(Health.FAIL, SUBJECT, said, f"register this address for the client {config.client_id} at the provider")


async def _client(provider: Provider, way_back: str) -> Line:
    """A code that was never given is refused; a wrong secret is refused before."""
    try:
        await provider.exchange("examination", "examination-" * 4, way_back)
    except IdentityProviderError as error:
        if error.reason == CLIENT_REFUSED:
            said = "it refuses client_id or client_secret"
            return Line(Health.FAIL, SUBJECT, said, "compare both with those at the provider")
        if error.reason != "code refused":
            raise
    return Line(Health.OK, SUBJECT, "it takes client_id and client_secret")
