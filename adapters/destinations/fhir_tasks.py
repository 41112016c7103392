"""Change the Task of a laboratory system on its own FHIR server: status, businessStatus and statusReason.

    GET Task/17                               version 2
    PUT Task/17, If-Match: W/"2"              200; or 412: another one has written it, so read it again and decide anew
    404, 410                                  the laboratory system has deleted it: there is nothing to change

A repeat changes nothing: a Task that has the news is not written. `adapters.destinations.fhir_tasks` decides.

Source: HL7 FHIR R4, http.html#concurrency ("Managing Resource Contention").

The Task by which a laboratory system orders, and the news of its order: may it be changed, and how. Pure.

LabRelay's own Task of an order names that Task in ``partOf``; with its version, where it answers that:

    {"resourceType": "Task", "status": "accepted", "partOf": [{"reference": "Task/17",
     "identifier": {"system": "urn:labrelay:polled", "value": "Task/17/2"}}]}

    the Task there is                        an answer to this version        an answer to another one, later news
    requested                                the status of the order          stays
    cancelled                                stays cancelled; businessStatus  stays
                                             says that the order goes on
    received accepted ready in-progress      the status of the order          the status of the order
    completed failed rejected on-hold, where
    LabRelay wrote that                      the status of the order          the status of the order
    any other                                stays                            stays

A request (requested, cancelled) that was not read yet is never written over: its own answer is on its way. So LabRelay
makes no cancel undone, and hides no request from itself.

status, businessStatus and statusReason change; all else keeps its bytes. businessStatus has a coding of `STATUS`, by
which LabRelay knows the ends and the reasons that it wrote; other codings of it stay, and other reasons.

Sources: HL7 FHIR R4, task.html (state machine, ``partOf``), http.html#concurrency.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from yarl import URL

from adapters.clients.http.exchange import MAX_CONFLICTS, MAX_KEPT_ANSWER_BYTES, HttpExchange
from adapters.codecs.fhir import searchset
from adapters.codecs.fhir.searchset import SYSTEM, is_id
from adapters.codecs.json_tree import with_members
from engine.model.errors import ContentError, RefusedDeliveryError, TransientDeliveryError
from engine.model.texts.reasons import ReasonCode

STATUS = "urn:labrelay:order-status"  # of a coding: Task.status of the order as LabRelay knows it
_UNDER_WAY = frozenset({"received", "accepted", "ready", "in-progress"})
_WHERE_OURS = frozenset({"completed", "failed", "rejected", "on-hold"})
_NOT_GIVEN_UP = frozenset({"accepted", "in-progress", "completed", "on-hold"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskNews:
    """News of an order for the Task that asks for it.

    Attributes:
        task: its id. version: that is answered; empty: it is later news.
        status: `Task.status` of the order. reason: ``statusReason`` as JSON; None: there is none.
    """

    task: str
    version: str
    status: str
    reason: dict[str, Any] | None = None


def news_in(body: bytes) -> Iterator[TaskNews]:
    """The news in a transaction."""
    if SYSTEM.encode() not in body:
        return
    for entry in json.loads(body).get("entry", ()):
        resource = entry.get("resource", {})
        if resource.get("resourceType") != "Task":
            continue
        for parent in resource.get("partOf", ()):
            identifier = parent.get("identifier", {})
            kind, _, rest = str(identifier.get("value", "")).partition("/")
            task, _, version = rest.partition("/")
            if identifier.get("system") == SYSTEM and kind == "Task" and is_id(task):
                yield TaskNews(
                    task=task, version=version, status=resource["status"], reason=resource.get("statusReason")
                )


def changed(text: str, version: str, news: TaskNews) -> str | None:
    """The Task with the news in it; None: it stays as it is.

    Args:
        text: the Task as the server has it. version: of it.
    """
    there = json.loads(text)
    status, before = there.get("status"), there.get("businessStatus")
    if not _may_change(status, _ours(before), news, answers_it=bool(news.version) and news.version == version):
        return None
    new: dict[str, Any] = {
        "status": "cancelled" if status == "cancelled" else news.status,
        "businessStatus": _business_status(before, news.status),
    }
    if news.reason is not None or _ours(before):
        new["statusReason"] = news.reason
    if all(there.get(name) == value for name, value in new.items()):
        return None
    return with_members(text, {name: "" if value is None else _dumped(value) for name, value in new.items()})


def _may_change(status: str, ours: str, news: TaskNews, *, answers_it: bool) -> bool:
    if status == "requested":
        return answers_it
    if status == "cancelled":
        return answers_it and news.status in _NOT_GIVEN_UP
    return status in _UNDER_WAY or (status in _WHERE_OURS and ours == status)


def _ours(business_status: Any) -> str:
    """The code of LabRelay in a businessStatus, or empty."""
    return next((str(one.get("code", "")) for one in _codings(business_status) if one.get("system") == STATUS), "")


def _business_status(before: Any, status: str) -> dict[str, Any]:
    others = [one for one in _codings(before) if one.get("system") != STATUS]
    kept = before if isinstance(before, dict) else {}
    return {**kept, "coding": [*others, {"system": STATUS, "code": status}]}


def _codings(concept: Any) -> list[dict[str, Any]]:
    found = concept.get("coding") if isinstance(concept, dict) else None
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


AT_ONCE = 5  # attempts at one Task, before the delivery is tried again later
GONE = (404, 410)


async def update(http: HttpExchange, body: bytes, headers: Mapping[str, str]) -> None:
    """Give the news in a transaction to the Tasks that it names.

    Raises:
        DeliveryError: why one could not be changed; the delivery is to be repeated, or is dead.
    """
    for news in news_in(body):
        for _ in range(AT_ONCE):
            if await _is_done(http, news, headers):
                break
        else:
            raise TransientDeliveryError(
                ReasonCode.CONFLICT, f"Task/{news.task} is written again and again", limit=MAX_CONFLICTS
            )


async def _is_done(http: HttpExchange, news: TaskNews, headers: Mapping[str, str]) -> bool:
    """Read and write once; False: another one wrote it in between."""
    address: URL = http.url / "Task" / news.task
    answer = await http.exchange("GET", address, {})
    if answer.status in GONE:
        return True
    if not 200 <= answer.status < 300:
        raise http.failure(answer)
    try:
        there = searchset.resource(answer.body) if answer.whole else None
    except ContentError:
        there = None
    if there is None or there.name != f"Task/{news.task}" or not there.version:
        raise RefusedDeliveryError(
            ReasonCode.CONFLICT,
            f"HTTP {answer.status}, no Task/{news.task} with a version: without one it is not changed",
            answer=answer.body[:MAX_KEPT_ANSWER_BYTES],
        )
    text = changed(there.raw.decode(), there.version, news)
    if text is None:
        return True
    condition = {"If-Match": f'W/"{there.version}"', "Content-Type": "application/fhir+json", **headers}
    answer = await http.exchange("PUT", address, condition, text.encode())
    if answer.status in (409, 412, *GONE):
        return False
    if answer.status == 405:
        raise RefusedDeliveryError(ReasonCode.REFUSED, f"HTTP 405, PUT of Task/{news.task} is not allowed")
    if not 200 <= answer.status < 300:
        raise http.failure(answer)
    return True
