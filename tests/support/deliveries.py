"""Deliveries, and settings of destinations, for tests. Values only."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.model.message import Delivery

RECEIVED_US = 1_772_353_800_000_000  # 2026-03-01 08:30 UTC


@dataclass(frozen=True)
class Secret:
    value: str

    def reveal(self) -> str:
        return self.value


@dataclass(frozen=True)
class Basic:
    user: str
    password: Secret


@dataclass(frozen=True)
class Bearer:
    token: Secret


@dataclass(frozen=True)
class Hmac:
    key_id: str
    secret: Secret


@dataclass(frozen=True, kw_only=True)
class OAuth2:
    token_url: str | None = None
    token_host: str | None = None
    client_id: str = "labrelay"
    client_secret: Secret | None = None
    client_auth: str = "basic"
    key: Path | None = None
    private_key: Secret | None = None
    kid: str | None = None
    scope: str | None = None
    audience: str | None = None
    tls: "Tls | None" = None


@dataclass(frozen=True)
class Auth:
    basic: Basic | None = None
    bearer: Bearer | None = None
    oauth2: OAuth2 | None = None
    hmac: Hmac | None = None


@dataclass(frozen=True)
class Tls:
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The keys of a destination that its adapter reads."""

    url: str = ""
    auth: Auth | None = None
    tls: Tls | None = None
    timeout: float = 60.0
    gzip: bool = False
    concurrency: int = 8
    ids: str = "client"
    conflicts: str = "off"
    method: str = "POST"
    taken: str | None = None
    folder: Path = Path()

    def but(self, **changes: Any) -> "Settings":
        return replace(self, **changes)


def delivery(body: bytes = b"", **changes: Any) -> Delivery:
    values: dict[str, Any] = {
        "id": 1,
        "message_id": 4711,
        "channel": "chemistry",
        "destination": "lab-fhir",
        "seq": 1,
        "key": "3f9c2a7e51d04b860123456789abcdef",
        "body": body,
        "media_type": "application/fhir+json",
        "received_us": RECEIVED_US,
    }
    return Delivery(**(values | changes))


def transaction(*entries: dict[str, Any]) -> bytes:
    """A transaction Bundle, written as our codec writes: no spaces."""
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": list(entries)}
    return json.dumps(bundle, separators=(",", ":"), ensure_ascii=False).encode()


def put(kind: str, identity: str, **content: Any) -> dict[str, Any]:
    """An entry that writes our own resource under its own id."""
    return {
        "fullUrl": f"urn:uuid:{identity}",
        "resource": {"resourceType": kind, "id": identity, **content},
        "request": {"method": "PUT", "url": f"{kind}/{identity}"},
    }


def shared(kind: str, identity: str, system: str, value: str, **content: Any) -> dict[str, Any]:
    """An entry that creates a shared resource unless its identifier is there already."""
    return {
        "fullUrl": f"urn:uuid:{identity}",
        "resource": {"resourceType": kind, "identifier": [{"system": system, "value": value}], **content},
        "request": {"method": "POST", "url": kind, "ifNoneExist": f"identifier={system}%7C{value}"},
    }


def transaction_response(*statuses: str) -> bytes:
    entries = [{"response": {"status": status, "etag": 'W/"1"'}} for status in statuses]
    return json.dumps({"resourceType": "Bundle", "type": "transaction-response", "entry": entries}).encode()
