"""Answers to orders that came as JSON or FHIR over HTTP. Pure.

    json     {"orders": [{"placer": "P1", "test": "GLU", "action": "new", "done": true, "orders": ["W1"]},
                         {"placer": "P2", "test": "X", "action": "new", "done": false, "reason": "UNKNOWN_TEST"}]}
    fhir     a Task for each order, or a Bundle of several: accepted, cancelled; rejected with statusReason
    refused  a problem of RFC 9457 (json), an OperationOutcome (fhir)

Source: HL7 FHIR R4, Task, OperationOutcome.
"""

import json
from collections.abc import Sequence
from typing import Any

from engine.model.orders import LineAnswer, item_id

SYSTEM = "urn:labrelay:order"  # of the numbers of orders here
_UNPROCESSABLE = 422


def said(told: Sequence[LineAnswer]) -> bytes:
    """What became of each order, as JSON."""
    return json.dumps({"orders": [_line(one) for one in told]}, ensure_ascii=False).encode()


def _line(one: LineAnswer) -> dict[str, Any]:
    found = {
        "placer": one.placer,
        "filler": one.filler,
        "test": one.test,
        "action": one.action,
        "done": one.done,
        "orders": [item_id(number) for number in one.items],
        "reason": one.reason.value,
        "text": one.text,
    }
    return {name: value for name, value in found.items() if value not in ("", [])}


def refused(text: str) -> bytes:
    body = {"title": "Unprocessable Entity", "status": _UNPROCESSABLE, "detail": text}
    return json.dumps(body).encode()


def fhir_said(told: Sequence[LineAnswer]) -> bytes:
    """What became of each order, as a Task or a Bundle of them."""
    tasks = [_task(one) for one in told]
    if len(tasks) == 1:
        return json.dumps(tasks[0], ensure_ascii=False).encode()
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": task} for task in tasks]}
    return json.dumps(bundle, ensure_ascii=False).encode()


def _task(one: LineAnswer) -> dict[str, Any]:
    task: dict[str, Any] = {"resourceType": "Task", "status": _status(one), "intent": "order"}
    if one.items:
        task["identifier"] = [{"system": SYSTEM, "value": item_id(number)} for number in one.items]
    if one.placer:
        task["focus"] = {"type": "ServiceRequest", "identifier": {"value": one.placer}}
    if not one.done:
        task["statusReason"] = {"coding": [{"system": f"{SYSTEM}-reason", "code": one.reason.value}], "text": one.text}
    return task


def _status(one: LineAnswer) -> str:
    if not one.done:
        return "rejected"
    return {"cancel": "cancelled", "hold": "on-hold"}.get(one.action, "accepted")


def fhir_refused(text: str) -> bytes:
    issue = {"severity": "error", "code": "processing", "diagnostics": text}
    return json.dumps({"resourceType": "OperationOutcome", "issue": [issue]}).encode()


def is_refusal(body: bytes) -> bool:
    """Whether an answer of this module says that a message brought no orders."""
    found = json.loads(body)
    return bool(found.get("resourceType") == "OperationOutcome" or found.get("status") == _UNPROCESSABLE)
