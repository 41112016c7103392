"""An identity provider on loopback that does as a test says: right by default, hostile where it is told so."""

import asyncio
import base64
import gzip
import hashlib
import hmac
import json
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from aiohttp import web
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from engine.model.process.clock import Clock

CLIENT, SECRET = "labrelay", "a secret: /+&=%"


@cache
def rsa(number: int = 0, bits: int = 2048) -> RSAKey:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one is weak on purpose
        return RSAKey.generate_key(bits, {"kid": f"rsa-{bits}-{number}", "use": "sig"}, private=True)


@cache
def ec() -> ECKey:
    return ECKey.generate_key("P-256", {"kid": "ec", "use": "sig"}, private=True)


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@dataclass
class Provider:
    """Each attribute may be changed while it runs.

    Attributes:
        claims: over those of a right token; a value of None takes one away.
        sign: makes the token of header and claims.
        answers: path -> another answer than the right one.
        asked: the paths in the order they were asked for.
        query: over what the browser brings back.
        registered: the one address that it sends browsers back to; empty: any.
    """

    clock: Clock
    issuer: str = ""
    claims: dict[str, Any] = field(default_factory=dict)
    header: dict[str, Any] = field(default_factory=dict)
    document: dict[str, Any] = field(default_factory=dict)
    keys: list[Any] = field(default_factory=lambda: [rsa(), ec()])
    key: Any = field(default_factory=rsa)
    sign: Callable[[dict[str, Any], dict[str, Any]], str] | None = None
    answers: dict[str, Callable[[web.Request], Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    query: dict[str, str | None] = field(default_factory=dict)
    secret: str | None = SECRET
    registered: str = ""
    numbers: Iterator[int] = field(default_factory=count)

    def now_s(self) -> int:
        return self.clock.now_us() // 1_000_000

    def approve(self, address: str) -> str:
        """The way back to the page, for the address that a browser was led to; with a new code."""
        given = dict(parse_qsl(urlsplit(address).query))
        assert given["response_type"] == "code"
        assert (given["client_id"], given["code_challenge_method"]) == (CLIENT, "S256")
        code = f"code-{len(self.codes)}"
        self.codes[code] = given
        back = {"code": code, "state": given["state"], "iss": self.issuer} | self.query
        query = urlencode({name: value for name, value in back.items() if value is not None})
        return f"{urlsplit(given['redirect_uri']).path}?{query}"

    def token(self, given: dict[str, str]) -> str:
        now = self.now_s()
        claims = {
            "iss": self.issuer, "aud": CLIENT, "sub": "248289761001", "iat": now, "exp": now + 300,
            "nonce": given["nonce"], "preferred_username": "asha", "groups": ["staff", "lab"],
            **({"auth_time": now} if "max_age" in given else {}), **self.claims,
        }  # fmt: skip
        return self.signed({"typ": "JWT"}, claims)

    def signed(self, header: dict[str, Any], claims: dict[str, Any]) -> str:
        claims = {name: value for name, value in claims.items() if value is not None}
        header = {"alg": "RS256", "kid": self.key.kid} | header | self.header
        header = {name: value for name, value in header.items() if value is not None}
        if self.sign is not None:
            return self.sign(header, claims)
        if "crit" in header:  # joserfc makes none of these
            return f"{part(header)}.{part(claims)}.x"
        return jwt.encode(header, claims, self.key, algorithms=[header["alg"]])

    def notice(self, **claims: Any) -> str:
        """A logout token (Back-Channel Logout 1.0, 2.4) with these claims over those of a right one."""
        now = self.now_s()
        right = {
            "iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 120, "jti": f"notice-{next(self.numbers)}",
            "events": {"http://schemas.openid.net/event/backchannel-logout": {}}, "sub": "248289761001",
        }  # fmt: skip
        return self.signed({"typ": "logout+jwt"}, right | claims)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        if (other := self.answers.get(request.path)) is not None:
            answer: web.StreamResponse = await other(request)
            return answer
        if request.path == "/.well-known/openid-configuration":
            return web.json_response({
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize?tenant=1",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/keys",
                "end_session_endpoint": f"{self.issuer}/end?tenant=1",
                "authorization_response_iss_parameter_supported": True,
            } | self.document)  # fmt: skip
        if request.path == "/keys":
            public = [one if isinstance(one, dict) else one.as_dict(private=False) for one in self.keys]
            return web.json_response({"keys": public})
        if request.path == "/authorize":
            return self._authorize(request)
        return await self._token(request)

    def _authorize(self, request: web.Request) -> web.Response:
        """Of a request without a person (``prompt=none``), which is all that we ask by ourselves."""
        asked = request.query
        if (asked["client_id"], asked["redirect_uri"]) != (CLIENT, self.registered or asked["redirect_uri"]):
            return web.Response(status=400, text="invalid_redirect_uri")
        assert (asked["prompt"], asked["response_type"]) == ("none", "code")
        back = urlencode({"error": "login_required", "state": asked["state"]})
        return web.Response(status=303, headers={"Location": f"{asked['redirect_uri']}?{back}"})

    async def _token(self, request: web.Request) -> web.Response:
        form = dict(await request.post())
        given = self.codes.pop(str(form.get("code")), None)
        challenge = hashlib.sha256(str(form.get("code_verifier")).encode()).digest()
        if not self._is_client(request, form):
            return web.json_response({"error": "invalid_client"}, status=401)
        right = (
            given is not None
            and form.get("grant_type") == "authorization_code"
            and form.get("redirect_uri") == given["redirect_uri"]
            and base64.urlsafe_b64encode(challenge).decode().rstrip("=") == given["code_challenge"]
        )
        if not right or given is None:
            return web.json_response({"error": "invalid_grant"}, status=400)
        return web.json_response({"access_token": "x", "token_type": "Bearer", "id_token": self.token(given)})

    def _is_client(self, request: web.Request, form: dict[str, Any]) -> bool:
        if self.secret is None:
            return form.get("client_id") == CLIENT and "client_secret" not in form
        if "client_secret_post" in self.document.get("token_endpoint_auth_methods_supported", ()):
            return (form.get("client_id"), form.get("client_secret")) == (CLIENT, self.secret)
        pair = urlencode({CLIENT: self.secret}).replace("=", ":", 1)
        return request.headers.get("Authorization") == f"Basic {base64.b64encode(pair.encode()).decode()}"


def unsigned(header: dict[str, Any], claims: dict[str, Any]) -> str:
    return f"{part(header | {'alg': 'none'})}.{part(claims)}."


def by_public_key(header: dict[str, Any], claims: dict[str, Any]) -> str:
    """HS256 with the public key as its secret (CVE-2015-9256 and others)."""
    said = f"{part(header | {'alg': 'HS256'})}.{part(claims)}"
    signed = hmac.digest(rsa().as_pem(private=False), said.encode(), "sha256")
    return f"{said}.{base64.urlsafe_b64encode(signed).decode().rstrip('=')}"


async def large(request: web.Request) -> web.StreamResponse:
    """More than any answer may have, in pieces, without a length."""
    answer = web.StreamResponse(headers={"Content-Type": "application/json"})
    await answer.prepare(request)
    for _ in range(64):
        await answer.write(b" " * 65_536)
    return answer


async def packed(_request: web.Request) -> web.StreamResponse:
    return web.Response(body=gzip.compress(b"{}"), headers={"Content-Encoding": "gzip"})


async def silent(_request: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def redirect(_request: web.Request) -> web.StreamResponse:
    return web.Response(status=302, headers={"Location": "/elsewhere"})


async def no_json(_request: web.Request) -> web.StreamResponse:
    return web.Response(text="<html>", content_type="application/json")


@asynccontextmanager
async def running(clock: Clock) -> AsyncIterator[Provider]:
    provider = Provider(clock)
    runner = web.ServerRunner(web.Server(provider.handle, access_log=None), shutdown_timeout=0.1)  # type: ignore[arg-type]
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    provider.issuer = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield provider
    finally:
        await runner.cleanup()
