"""The simulated reader of records (HIU): it gives its keys, takes pages, opens them, and checks each.

A page that is wrong is noted, answered 4xx, and not kept. The same bytes again are a repeat, as after a lost answer.
"""

import hashlib
import secrets
from base64 import b64encode
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import orjson
from pydantic import ValidationError

from engine.config import registry
from engine.model.errors import FideliusError
from workbench.abdm import bodies
from workbench.abdm.calls import Gate
from workbench.abdm.state import MOST_REQUEST_IDS, Document, State, Transfer
from workbench.errors import GatewayRefusalError

ID, NAME = "SIMULATED-HIU", "Made-up Hospital"
PATH = "/reader/push"
KEY_LIFE = timedelta(hours=1)
MOST_NOTED = 20  # of one page

CODEC = registry.load(registry.ENCRYPTION, "abdm")


class Reader:
    """One reader, with keys of its own for each request."""

    def __init__(self, state: State, gate: Gate) -> None:
        self._state = state
        self._gate = gate

    def keys(self, form: str) -> tuple[bytes, bytes, dict[str, Any]]:
        """A new seed and nonce, and their ``keyMaterial``, the key written in this form (`KeyForm`)."""
        seed, nonce = secrets.token_bytes(32), secrets.token_bytes(32)
        key = CODEC.public_key(seed, CODEC.KeyForm(form))
        expiry = written(self._state.now() + KEY_LIFE)
        public = {"expiry": expiry, "parameters": CODEC.PARAMETERS, "keyValue": key}
        plain = b64encode(nonce).decode("ascii")
        return seed, nonce, {"cryptoAlg": "ECDH", "curve": "Curve25519", "dhPublicKey": public, "nonce": plain}

    def receive(self, headers: Mapping[str, str], body: bytes, began: datetime, *, is_heard: bool = True) -> int:
        """Take a page, and return the status of the answer.

        Args:
            began: when its request came.
            is_heard: the answer will reach the laboratory.
        """
        self._state.counts["pages"] += 1
        try:
            self._receive({name.lower(): value for name, value in headers.items()}, body, began, is_heard)
        except GatewayRefusalError as refusal:
            if refusal.rule:
                self._state.violated(refusal.rule, "push", refusal.detail)
            return refusal.status
        return 202

    def _receive(self, headers: Mapping[str, str], body: bytes, began: datetime, is_heard: bool) -> None:
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise _wrong("content-type", headers.get("content-type", "none"), 415)
        if not self._gate.is_live(headers.get("authorization", "")):
            raise _wrong("" if self._gate.is_ours(headers) else "page-authorization", "no session token", 401)
        try:
            page = bodies.Page.model_validate(orjson.loads(body))
        except orjson.JSONDecodeError:
            raise _wrong("page-body", "no JSON") from None
        except ValidationError as error:
            for one in error.errors()[1:MOST_NOTED]:
                self._state.violated("page-body", "push", _words(one))
            raise _wrong("page-body", _words(error.errors()[0])) from None
        transfer = self._state.transfers.get(page.transaction_id)
        if transfer is None:
            raise _wrong("page-unknown-transfer", "", 404)
        digest = hashlib.sha256(body).digest()
        reference = page.entries[0].care_context_reference
        if transfer.pages.get(page.page_number) == digest:
            transfer.repeats += 1
            if is_heard:
                transfer.unheard.discard(reference)
            return
        if page.page_number in transfer.pages:
            raise _wrong("page-changed", f"page {page.page_number} again, with other bytes", 409)
        self._refuse_at_this_time(transfer, began)
        self._refuse_beyond_the_grant(transfer, page)
        document = self._opened(transfer, page)
        self._refuse_of_another(transfer, document)
        transfer.first_at = transfer.first_at or self._state.now()
        transfer.pages[page.page_number] = digest
        transfer.page_count = page.page_count
        transfer.arrived[reference] = page.entries[0].checksum
        if not is_heard:
            transfer.unheard.add(reference)
        consent = transfer.consent
        self._state.keep(Document(transfer.id, consent.id, consent.person.address, reference, document))

    def _refuse_at_this_time(self, transfer: Transfer, began: datetime) -> None:
        consent, settings = transfer.consent, self._state.settings
        grace = timedelta(seconds=settings.revoke_grace_s)
        reason = transfer.must_refuse[0]
        wrong = {
            ("page-before-on-request", "no on-request has come"): transfer.state == "asked",
            ("page-after-refusal", "the request was refused"): transfer.state == "refused",
            ("page-after-notify", "the end was reported"): transfer.state == "done",
            ("page-against-consent", reason): bool(reason),
            ("page-after-end", consent.state): consent.ended_at is not None and began > consent.ended_at + grace,
            ("page-after-end", "dataEraseAt"): began > consent.erase_at + grace,
            ("page-after-window", f"of {settings.window_s} s"): began
            > transfer.asked_at + timedelta(seconds=settings.window_s),
        }
        for (rule, detail), is_so in wrong.items():
            if is_so:
                raise _wrong(rule, detail, 403)

    def _refuse_beyond_the_grant(self, transfer: Transfer, page: bodies.Page) -> None:
        if page.entries[0].care_context_reference not in {reference for _, reference in transfer.consent.contexts}:
            raise _wrong("page-not-granted", "a care context that the consent does not name", 403)
        if transfer.page_count not in (0, page.page_count):
            raise _wrong("page-count", f"{page.page_count}, before {transfer.page_count}")

    def _opened(self, transfer: Transfer, page: bodies.Page) -> bytes:
        """The document, after all checks of its keys."""
        entry, state = page.entries[0], self._state
        try:
            peer = CODEC.read_key_material(page.key_material.model_dump(by_alias=True), state.now())
        except FideliusError as error:
            raise _wrong("page-keys", error.fault) from None
        mine = f"{transfer.id} {page.page_number} {entry.content}"
        digest = hashlib.sha256(mine.encode()).digest()
        for rule, used, value in (
            ("page-key-reused", state.page_keys, peer.u.hex()),
            ("page-nonce-reused", state.page_nonces, peer.nonce.hex()),
        ):
            if used.setdefault(value, digest) != digest:
                raise _wrong(rule, "each page has a key pair and a nonce of its own")
            if len(used) > MOST_REQUEST_IDS:
                del used[next(iter(used))]
        try:
            document: bytes = CODEC.open_page(entry.content, peer, seed=transfer.seed, nonce=transfer.nonce)
        except FideliusError as error:
            raise _wrong("page-sealed", error.fault) from None
        if hashlib.md5(document, usedforsecurity=False).hexdigest() != entry.checksum:
            raise _wrong("page-checksum", "not the MD5 of the document")
        return document

    def _refuse_of_another(self, transfer: Transfer, document: bytes) -> None:
        """Look into the document: form, person, time."""
        try:
            bundle = orjson.loads(document)
            resources = [entry["resource"] for entry in bundle["entry"]]
            kinds = [one["resourceType"] for one in resources]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise _wrong("page-document", "no Bundle with entries, in UTF-8") from None
        if (bundle.get("resourceType"), bundle.get("type"), kinds[:1]) != ("Bundle", "document", ["Composition"]):
            raise _wrong("page-document", "no document: its first entry is its Composition")
        consent = transfer.consent
        own = {consent.person.address, consent.person.number}
        others = {said for one in self._state.people.values() for said in (one.address, one.number)} - own - {None}
        named = {value for one in resources if one["resourceType"] == "Patient" for value in _identifiers(one)}
        if named & others:
            raise _wrong("page-of-another-person", "its Patient has the ABHA of another one", 403)
        for moment in _issued(resources):
            if not max(consent.begin, transfer.begin) <= moment <= min(consent.end, transfer.end):
                raise _wrong("page-outside-dates", "a report of a time that was not granted, or not asked for", 403)


def written(at: datetime) -> str:
    """As the gateway writes a time."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _identifiers(patient: dict[str, Any]) -> set[str]:
    """ABHA numbers without dashes, addresses in lower case; and all other identifiers."""
    said = patient.get("identifier", [])
    values = [one.get("value") for one in said if isinstance(one, dict)] if isinstance(said, list) else []
    return {one.lower() if "@" in one else one.replace("-", "") for one in values if isinstance(one, str)}


def _issued(resources: list[dict[str, Any]]) -> list[datetime]:
    """When the reports were issued, where they say so with a zone."""
    texts = [one.get("issued") for one in resources if one["resourceType"] == "DiagnosticReport"]
    found = []
    for text in texts:
        try:
            moment = datetime.fromisoformat(text) if isinstance(text, str) else None
        except ValueError:
            continue
        if moment is not None and moment.tzinfo is not None:
            found.append(moment)
    return found


def _wrong(rule: str, detail: str, status: int = 400) -> GatewayRefusalError:
    return GatewayRefusalError("", status=status, rule=rule, detail=detail)


def _words(error: Any) -> str:
    return f"{'.'.join(map(str, error['loc'])) or 'body'}: {error['msg']}"
