"""News of an order for the Task of a laboratory system: what goes over the line, and what a write in between does.

GET gives              PUT gives     the delivery
a Task that may change 200           delivered
the same               412           reads again, and decides anew
a cancelled one                      delivered; nothing is written
404                                  delivered; there is nothing to change
a Task without version               dead: without a version nothing is written
503                    503           tried again later
"""

import json
from typing import Any

import pytest

from adapters.destinations.fhir_tasks import AT_ONCE, STATUS
from engine.model.errors import DeliveryError, RefusedDeliveryError, TransientDeliveryError
from engine.model.texts.reasons import ReasonCode
from tests.adapters.destinations.test_fhir_rest import attempt, destination
from tests.support.deliveries import delivery, put, transaction, transaction_response
from tests.support.scripted_http import http, scripted

NAMED = {"system": "urn:labrelay:polled", "value": "Task/17"}
OWN = put(
    "Task", "00000000-0000-4000-8000-00000000000c", status="completed",
    partOf=[{"reference": "Task/17", "identifier": NAMED}],
)  # fmt: skip
BODY = transaction(OWN)
POSTED = http(200, transaction_response("201 Created"))


def task(status: str, version: str = "2", **more: Any) -> bytes:
    meta = {"meta": {"versionId": version}} if version else {}
    return http(200, json.dumps({"resourceType": "Task", "id": "17", **meta, "status": status, **more}).encode())


async def delivered(*answers: bytes) -> tuple[DeliveryError | None, list[Any]]:
    """The error of a delivery, and its requests behind the transaction."""
    async with scripted(POSTED, *answers) as server, destination(server.url) as lab:
        error = await attempt(lab, delivery(BODY))
        assert server.requests[0].line.startswith("POST /fhir")
        return error, server.requests[1:]


async def test_the_task_is_written_under_the_version_that_was_read() -> None:
    error, (read, written) = await delivered(task("accepted"), http(200, b"{}"))
    assert error is None
    assert read.line.startswith("GET /fhir/Task/17 ")
    assert written.line.startswith("PUT /fhir/Task/17 ")
    assert written.headers["if-match"] == 'W/"2"'
    assert json.loads(written.body) == {
        "resourceType": "Task", "id": "17", "meta": {"versionId": "2"}, "status": "completed",
        "businessStatus": {"coding": [{"system": STATUS, "code": "completed"}]},
    }  # fmt: skip


@pytest.mark.parametrize("lost", [409, 412])
async def test_a_task_that_another_one_wrote_in_between_is_read_again(lost: int) -> None:
    error, asked = await delivered(task("accepted"), http(lost), task("in-progress", "3", note=[]), http(200, b"{}"))
    assert error is None
    assert [one.line.split()[0] for one in asked] == ["GET", "PUT", "GET", "PUT"]
    assert asked[3].headers["if-match"] == 'W/"3"'
    assert json.loads(asked[3].body)["note"] == []


async def test_a_task_that_was_cancelled_in_between_stays_cancelled() -> None:
    error, asked = await delivered(task("accepted"), http(412), task("cancelled", "3"))
    assert error is None
    assert [one.line.split()[0] for one in asked] == ["GET", "PUT", "GET"]


@pytest.mark.parametrize("answers", [(http(404),), (http(410),), (task("accepted"), http(404), http(404))])
async def test_a_task_that_is_not_there_any_more_needs_no_news(answers: tuple[bytes, ...]) -> None:
    error, asked = await delivered(*answers)
    assert error is None
    assert len(asked) == len(answers)


@pytest.mark.parametrize(
    ("answers", "reason", "kind"),
    [
        ((http(503),), ReasonCode.BUSY, TransientDeliveryError),
        ((task("accepted"), http(503)), ReasonCode.BUSY, TransientDeliveryError),
        ((task("accepted"), http(422)), ReasonCode.REFUSED, RefusedDeliveryError),
        ((task("accepted"), http(405)), ReasonCode.REFUSED, RefusedDeliveryError),
        ((task("accepted", ""),), ReasonCode.CONFLICT, RefusedDeliveryError),
        ((http(200, b"<html>"),), ReasonCode.CONFLICT, RefusedDeliveryError),
        ((task("accepted"), http(412)) * AT_ONCE, ReasonCode.CONFLICT, TransientDeliveryError),
    ],
)
async def test_each_failure_has_its_reason(
    answers: tuple[bytes, ...], reason: ReasonCode, kind: type[DeliveryError]
) -> None:
    error, asked = await delivered(*answers)
    assert error is not None
    assert (type(error), error.reason) == (kind, reason)
    assert len(asked) == len(answers)
