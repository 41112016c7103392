"""Log-in at an identity provider: OpenID Connect Core 1.0, authorization code flow with PKCE (RFC 7636, S256).

flow        one log-in from our page to the provider and back; whether a token proves who is there, and which role that
            person has; log-out there by a person, and log-ins that it ends
provider    what the provider says of itself, its keys, and the exchange of a code: every request to it

Imported where a site has ``access: oidc:`` alone. The only addresses that are asked are the issuer of the configuration
and those that its own document names, over TLS but on this machine; no redirect is followed.
"""
