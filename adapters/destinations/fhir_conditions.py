"""Test whether a FHIR server honours the condition of an update, on the server itself with a resource of our own.

``conflicts: check`` rests on it: where a server takes an update whose ``ifMatch`` names a version that is not there any
more (R4, http.html#concurrency), the other system's change is lost, and neither side notices. Some look at it for
``PUT Type/id`` and not for ``PUT Type?identifier=...``, so the trial sends what a delivery would send.

    1  PUT the resource                       version A
    2  PUT it again, ifMatch A                version B: the server takes a condition that holds
    3  PUT it again, ifMatch A                must be refused, for there is B now
    4  DELETE it

The resource is a Basic with a random identifier; where a server knows no Basic, an Organization that is not active.
"""

import json
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from adapters.codecs.fhir.server_ids import for_server_ids
from adapters.codecs.fhir.versions import given
from engine.model.errors import DeliveryError
from engine.model.ports import ConditionsTrial

WORDS = "LabRelay tries whether this server looks at conditions, and deletes this again"
KINDS: dict[str, dict[str, Any]] = {
    "Basic": {"code": {"text": WORDS}},
    "Organization": {"active": False, "name": WORDS},
}


# A transaction -> HTTP status and the JSON object of the answer.
Send = Callable[[bytes], Awaitable[tuple[int, dict[str, Any]]]]
Delete = Callable[[str], Awaitable[int]]


async def tried(send: Send, delete: Delete, *, server_ids: bool) -> ConditionsTrial:
    """Try it.

    Args:
        send: posts a transaction. delete: deletes ``Type/id``.

    Raises:
        DeliveryError: there was no answer.
    """
    trial = ConditionsTrial()
    for kind, content in KINDS.items():
        trial = await _tried(send, delete, kind, content, server_ids=server_ids)
        if not trial.unknown or trial.left:
            break
    return trial


async def _tried(
    send: Send, delete: Delete, kind: str, content: dict[str, Any], *, server_ids: bool
) -> ConditionsTrial:
    identity, made = str(uuid.uuid4()), set[str]()
    how = f"PUT {kind}?identifier=..." if server_ids else f"PUT {kind}/id"

    async def put(step: int, version: str = "") -> tuple[int, str]:
        body = _bundle(kind, identity, {**content, "language": "en" if step % 2 else "en-US"}, version)
        sent = for_server_ids(body) if server_ids else body
        status, answer = await send(sent)
        made.update(_addresses(answer, kind))
        versions = dict(given(body, answer)) if 200 <= status < 300 else {}
        return status, versions.get(f"{kind}/{identity}", "")

    trial = ConditionsTrial()
    try:
        status, first = await put(1)
        if not first:
            return ConditionsTrial(unknown=f"the server answered {status} to {how}, or names no version")
        status, second = await put(2, first)
        if len(made) > 1:
            trial = ConditionsTrial(
                problem=f"the server made a second {kind} of {how}, for it did not find what it had just taken"
            )
        elif not second:
            trial = ConditionsTrial(unknown=f"the server answered {status} to {how} with an ifMatch that holds")
        elif second == first:
            trial = ConditionsTrial(problem="the server does not give a new version to what is changed")
        else:
            status, third = await put(3, first)
            if third or 200 <= status < 300:
                trial = ConditionsTrial(
                    problem=f"the server does not look at ifMatch of {how}: it took an update on condition of version "
                    f"{first} where it had {second}"
                )
    finally:
        left = tuple([address for address in sorted(made) if not await _is_removed(delete, address)])
    return ConditionsTrial(trial.problem, trial.unknown, left)


async def _is_removed(delete: Delete, address: str) -> bool:
    try:
        return 200 <= await delete(address) < 300
    except DeliveryError:
        return False


def _bundle(kind: str, identity: str, content: dict[str, Any], version: str) -> bytes:
    request = {"method": "PUT", "url": f"{kind}/{identity}"} | ({"ifMatch": f'W/"{version}"'} if version else {})
    resource = {"resourceType": kind, "id": identity, **content}
    entry = {"fullUrl": f"urn:uuid:{identity}", "resource": resource, "request": request}
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}
    return json.dumps(bundle, separators=(",", ":")).encode()


def _addresses(answer: dict[str, Any], kind: str) -> set[str]:
    """``Type/id`` of what an answer says was written."""
    found = set()
    for entry in answer.get("entry", ()) if isinstance(answer.get("entry"), list) else ():
        response = entry.get("response") if isinstance(entry, dict) else None
        parts: list[str] = str((response or {}).get("location") or "").split("/")
        if kind in parts[:-1]:
            found.add(f"{kind}/{parts[parts.index(kind) + 1]}")
    return found
