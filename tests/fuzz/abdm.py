"""Callbacks of ABDM for a fuzzer: any body of a proven callback becomes state, or is refused with a reason.

The journal is a real one. It has a patient of the network, whose report is linked, and a consent that he has given, so
that bodies can name what is there.
"""

import asyncio
import itertools
import json
import tempfile
from pathlib import Path
from typing import Any

import orjson

from engine.features.abdm.rows import callbacks
from engine.features.abdm.service.dispatcher import Dispatcher
from engine.model.process.clock import SystemClock
from engine.store.journal import Journal
from tests.support.abdm_site import FACILITY, destination, offer, person, report

# All that the gateway sends, whether a flow takes it yet or not: the first byte of an input chooses.
PATHS = (
    "/v3/hip/token/on-generate-token",
    "/v3/link/on_carecontext",
    "/v3/links/context/on-notify",
    "/v3/patients/sms/on-notify",
    "/v3/hip/patient/care-context/discover",
    "/v3/hip/link/care-context/init",
    "/v3/hip/link/care-context/confirm",
    "/v3/consent/request/hip/notify",
    "/v3/hip/health-information/request",
    "/v3/hip/patient/share",
    "/v3/patients/status/notify",
)
RENEWED_AFTER = 500  # inputs; then another journal begins
CONSENT, TRANSACTION = "0f5cf8e0-6d8a-4d4b-9a3e-0123456789ab", "7d5cf8e0-6d8a-4d4b-9a3e-0123456789ab"


class Laboratory:
    """A journal, and what makes state of callbacks."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._folder = tempfile.TemporaryDirectory()
        self.config = destination("http://127.0.0.1:1")
        self.journal = Journal.open(Path(self._folder.name), clock=SystemClock())
        self.journal.start(self.loop)
        # No call goes out: nothing carries it out.
        self.dispatcher = Dispatcher(self.journal, None, lambda: self.config, SystemClock())  # type: ignore[arg-type]
        self._numbers = itertools.count()
        self.loop.run_until_complete(self.journal.run(offer, self.config, report(), person()))
        for path, body in BODIES.items():
            if path.endswith("hip/notify"):
                self.folded(path, json.dumps(body[0]).encode())

    def folded(self, path: str, body: bytes) -> tuple[str, str]:
        """State and reason of a callback with this body."""

        async def fold() -> None:
            request = f"fuzz-{next(self._numbers)}"
            await self.journal.run(callbacks.store, path, FACILITY, request, body, 0)
            while await self.dispatcher.fold_all():
                pass

        self.loop.run_until_complete(fold())
        [row] = self.journal.rows("SELECT state, reason FROM abdm_callback ORDER BY number DESC LIMIT 1")
        return str(row[0]), str(row[1])

    def end(self) -> None:
        self.loop.run_until_complete(self.journal.stop())
        self.loop.close()
        self._folder.cleanup()


_open: list[Laboratory] = []
_runs = itertools.count(1)


def callback(data: bytes) -> None:
    """A body of any bytes is folded or refused with a constant, and never by a fault of ours."""
    path, body = PATHS[data[0] % len(PATHS)] if data else PATHS[0], data[1:]
    if _open and next(_runs) % RENEWED_AFTER == 0:
        _open.pop().end()
    if not _open:
        _open.append(Laboratory())
    here = _open[0]
    if path not in here.dispatcher.table.paths:
        return
    if path not in here.dispatcher.table.refused and not _is_object(body):
        return  # the listener refuses it
    state, reason = here.folded(path, body)
    if state not in ("folded", "refused") or reason in (callbacks.FAULT, callbacks.DAMAGED):
        raise AssertionError(f"{path}: {state} {reason}")


def _is_object(body: bytes) -> bool:
    try:
        return isinstance(orjson.loads(body), dict)
    except orjson.JSONDecodeError:
        return False


def seeds() -> list[bytes]:
    return [
        bytes([PATHS.index(path)]) + json.dumps(body, ensure_ascii=False).encode()
        for path, bodies in BODIES.items()
        for body in bodies
    ]


_PERSON = person()
_PATIENT = {"id": _PERSON.address}
_DETAIL = {
    "schemaVersion": "v3", "consentId": CONSENT, "createdAt": "2026-11-20T06:10:00.000Z", "patient": _PATIENT,
    "careContexts": [{"patientReference": "PID-0", "careContextReference": "LR-1"}],
    "purpose": {"text": "Care Management", "code": "CAREMGT", "refUri": "http://example.org/"},
    "hip": {"id": FACILITY}, "hiu": {"id": "HIU", "name": "Made-up Hospital"}, "consentManager": {"id": "sbx"},
    "requester": {"name": "Dr Made-up", "identifier": {"type": "REGNO", "value": "MH1", "system": "made-up"}},
    "hiTypes": ["DiagnosticReport"],
    "permission": {
        "accessMode": "VIEW", "dateRange": {"from": "2026-01-01T00:00:00.000Z", "to": "2026-12-01T00:00:00.000Z"},
        "dataEraseAt": "2099-12-01T00:00:00.000Z", "frequency": {"unit": "HOUR", "value": 1, "repeats": 0},
    },
}  # fmt: skip
_KEYS = {
    "cryptoAlg": "ECDH", "curve": "Curve25519", "nonce": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    "dhPublicKey": {"expiry": "2099-12-01T00:00:00.000Z", "parameters": "", "keyValue": "BAAA"},
}  # fmt: skip
_RESPONSE = {"requestId": "0b5cf8e0-6d8a-4d4b-9a3e-0123456789ab"}
_ERROR: dict[str, Any] = {"error": {"code": "ABDM-1036", "message": "no match"}, "response": _RESPONSE}
_ASKED = [
    {"type": "MOBILE", "value": "9000000001"}, {"type": "ABHA_NUMBER", "value": "91-1000-0000-0016"},
    {"type": "ABHA_ADDRESS", "value": _PERSON.address}, {"type": "MR", "value": "PID-0"},
]  # fmt: skip
_CHOSEN = [{"referenceNumber": "PID-0", "careContexts": [{"referenceNumber": "LR-1"}], "hiType": "DiagnosticReport"}]
BODIES: dict[str, list[dict[str, Any]]] = {
    PATHS[0]: [{"abhaAddress": _PERSON.address, "linkToken": "a.b.c", "response": _RESPONSE}, _ERROR],
    PATHS[1]: [{"abhaAddress": _PERSON.address, "status": "Successfully Linked", "response": _RESPONSE}, _ERROR],
    PATHS[2]: [{"acknowledgement": {"status": "SUCCESS"}, "response": _RESPONSE}, _ERROR],
    PATHS[3]: [{"acknowledgement": {"status": "ERRORED"}, "error": None, "response": _RESPONSE}, _ERROR],
    PATHS[4]: [{
        "transactionId": TRANSACTION,
        "patient": _PATIENT | {
            "verifiedIdentifiers": _ASKED, "unverifiedIdentifiers": [], "name": _PERSON.name,
            "gender": _PERSON.gender, "yearOfBirth": _PERSON.year,
        },
    }],
    PATHS[5]: [{"transactionId": TRANSACTION, "abhaAddress": _PERSON.address, "patient": _CHOSEN}],
    PATHS[6]: [
        {"confirmation": {"token": "012345", "linkRefNumber": TRANSACTION}},
        {"confirmation": {"token": 12345, "linkRefNumber": TRANSACTION}},
    ],
    PATHS[7]: [
        {"notification": {"status": "GRANTED", "consentId": CONSENT, "consentDetail": _DETAIL, "signature": "x",
                          "grantAcknowledgement": False}},
        {"notification": {"status": "REVOKED", "consentId": CONSENT}},
        {"status": "EXPIRED", "consentId": CONSENT, "consentDetail": _DETAIL},
    ],
    PATHS[8]: [{
        "transactionId": TRANSACTION,
        "hiRequest": {
            "consent": {"id": CONSENT}, "dataPushUrl": "http://127.0.0.1:1/push", "keyMaterial": _KEYS,
            "dateRange": {"from": "2026-01-01T00:00:00.000Z", "to": "2026-12-01T00:00:00.000Z"},
        },
    }],
    PATHS[9]: [{
        "intent": "PROFILE_SHARE", "metaData": {"hipId": FACILITY, "context": "1", "latitude": "1", "longitude": "2"},
        "profile": {"patient": {
            "abhaNumber": "91100000000016", "abhaAddress": _PERSON.address, "name": _PERSON.name, "gender": "F",
            "dayOfBirth": "14", "monthOfBirth": "3", "yearOfBirth": "1986", "phoneNumber": "9000000001",
            "address": {"line": "x", "district": "Pune", "state": "Maharashtra", "pincode": "411001"},
        }},
    }],
    PATHS[10]: [{"notification": {"abhaAddress": "arjun.rao@sbx", "status": "DEACTIVATED"}}],
}  # fmt: skip
