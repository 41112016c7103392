"""Print the public key by which an authorization server knows us (auth: {oauth2: {key: ...}}), as a JSON Web Key Set.

Register what it prints at the server, or put it where the server fetches it. A key is made by `openssl ecparam -name
secp384r1 -genkey -noout -out config/smart.key`; nothing of the private half is ever printed. After a change of keys
register the new one before the destination uses it.
"""

from typing import Any

import click

from engine.commands.shared.output import ExitCode, to_json
from engine.commands.shared.session import Session, pass_session
from engine.model.errors import ConfigError
from engine.model.texts.spelling import did_you_mean

GROUP = "upkeep"
RARE = True


@click.command(help=__doc__)
@click.argument("destination", required=False)
@pass_session
def command(session: Session, destination: str | None) -> ExitCode:
    from engine.config import registry

    found = _signers(session)
    if destination is not None and destination not in found:
        known = did_you_mean(destination, found) or f"such destinations: {', '.join(found) or 'none'}"
        raise ConfigError(f"destination {destination} signs no assertions; {known}")
    if not found:
        raise ConfigError("no destination signs assertions; give one auth: {oauth2: {key: ...}} or {private_key: ...}")
    jwt_assertion = registry.load(registry.LOG_INS, "jwt")
    keys: dict[str, Any] = {}
    for name, auth in found.items():
        if destination in (None, name):
            keys |= {key["kid"]: key for key in jwt_assertion.key_set(auth)["keys"]}
    click.echo(to_json({"keys": list(keys.values())}, indent=True))
    return ExitCode.OK


def _signers(session: Session) -> dict[str, Any]:
    """The ``oauth2:`` blocks with a private key, by destination, and by channel that asks a server."""
    site = session.load(require_secrets=False)
    found = {}
    for name, block in {**{n: c.source for n, c in site.channels.items()}, **site.config.destinations}.items():
        oauth2 = getattr(getattr(block, "auth", None), "oauth2", None)
        if oauth2 is not None and oauth2.client_secret is None:
            found[name] = oauth2
    return found
