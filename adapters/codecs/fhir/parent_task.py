"""The Task by which a laboratory system orders, and the news of its order: may it be changed, and how. Pure.

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
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from adapters.codecs.fhir.searchset import SYSTEM, is_id
from adapters.codecs.json_places import with_members

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
