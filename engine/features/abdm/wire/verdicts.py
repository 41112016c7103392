"""What an answer of ABDM's gateway means for a call. Pure.

One code may have several meanings, then the message decides. A code that is not known is final: a call that nothing is
known about is not repeated.

Sources: NHA's pages on errors, V3; answers of its sandbox that integrators have published.
"""

from collections.abc import Mapping
from typing import Any

from engine.features.abdm.rules.network import GatewayAnswer, Verdict
from engine.features.abdm.wire.faults import GatewayFault, has_error, read_faults


def _codes(text: str) -> frozenset[str]:
    return frozenset(f"ABDM-{code}" for code in text.split())


AGAIN = _codes("1000 1004 1007 1011 1018 1019 1020 1024 1028 1029 1033 1034 1048 1201")
SLOW = _codes("1022 2429")
STOP = _codes("1027")
SETTINGS = _codes("1025 1035 1040 2402 2403")
BEFORE = _codes("1090 1092 1101 1113")
LOG_IN = frozenset({"900901", "900902"})
ERRORED = "ERRORED"  # of a notice to the app, or an SMS, with or without an error beside it
LINKED, OTHER, REFUSED, INVALID = "ABDM-1056", "ABDM-9999", "ABDM-2500", "ABDM-1006"


def answer(status: int, body: bytes, *, retry_after_s: float = 0.0) -> GatewayAnswer:
    """The answer to a call.

    Args:
        status: of HTTP. A page of a proxy, with any status, is none of the gateway's answers.
    """
    if 200 <= status < 300 and not body.lstrip().startswith(b"<"):
        return GatewayAnswer(status, Verdict.TAKEN, body=body)
    fault = worst(read_faults(body))
    return GatewayAnswer(status, _of(status, fault), fault.code, fault.message, retry_after_s=retry_after_s, body=body)


def result(said: Mapping[str, Any], body: bytes) -> GatewayAnswer:
    """What a callback says of a call.

    Args:
        said, body: the callback, as a tree and as bytes.
    """
    if not has_error(said):
        acknowledged = said.get("acknowledgement")
        status = acknowledged.get("status") if isinstance(acknowledged, Mapping) else None
        if isinstance(status, str) and status.strip().upper() == ERRORED:
            return GatewayAnswer(0, Verdict.FINAL, ERRORED, body=body)
        return GatewayAnswer(0, Verdict.TAKEN, body=body)
    fault = worst(read_faults(body))
    return GatewayAnswer(0, _meaning(fault) or Verdict.FINAL, fault.code, fault.message, body=body)


def worst(faults: tuple[GatewayFault, ...]) -> GatewayFault:
    """The one that decides: the first with a code, else the first."""
    return next((one for one in faults if one.code), faults[0])


def _of(status: int, fault: GatewayFault) -> Verdict:
    if fault.shape == "html":
        return Verdict.AGAIN
    if status == 401:
        return Verdict.LOG_IN
    if status == 429:
        return Verdict.SLOW
    if status == 408 or status >= 500:
        return Verdict.AGAIN
    found = _meaning(fault)
    if found is not None:
        return found
    return Verdict.SETTINGS if status in (403, 404, 405) or 300 <= status < 400 else Verdict.FINAL


def _meaning(fault: GatewayFault) -> Verdict | None:
    code, words = fault.code, fault.message.lower()
    for codes, verdict in (
        (AGAIN, Verdict.AGAIN),
        (SLOW, Verdict.SLOW),
        (STOP, Verdict.STOP),
        (SETTINGS, Verdict.SETTINGS),
        (BEFORE, Verdict.BEFORE),
        (LOG_IN, Verdict.LOG_IN),
    ):
        if code in codes:
            return verdict
    if code == INVALID and "hitype" in words.replace(" ", ""):  # `hi_type_key` is wrong
        return Verdict.SETTINGS
    if code == LINKED and "link" in words:
        return Verdict.BEFORE
    if code == OTHER and "duplicate" in words:
        return Verdict.BEFORE
    if code == OTHER and "try" in words:
        return Verdict.AGAIN
    if code == REFUSED and ("auth" in words or "token" in words):
        return Verdict.LOG_IN
    return Verdict.FINAL if code else None
