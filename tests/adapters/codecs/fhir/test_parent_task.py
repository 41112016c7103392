"""The Task by which a laboratory system orders: when the news of its order change it, and what of it stays.

A LIS must never find a cancelled Task open again, an end that it wrote itself changed, or a request of its own written
over that LabRelay has not read yet.
"""

import json
from typing import Any

import pytest

from adapters.destinations.fhir_tasks import STATUS, TaskNews, changed, news_in

ALL = ("accepted", "in-progress", "on-hold", "completed", "rejected", "failed", "cancelled")
GOES_ON = ("accepted", "in-progress", "on-hold", "completed")
REASON = {"text": "too late: its result is there"}


def there(status: str, ours: str = "", **more: Any) -> str:
    mark = {"businessStatus": {"coding": [{"system": STATUS, "code": ours}]}} if ours else {}
    return json.dumps({"resourceType": "Task", "id": "17", "status": status, **mark, **more})


def news(status: str, version: str = "", reason: dict[str, Any] | None = None) -> TaskNews:
    return TaskNews(task="17", version=version, status=status, reason=reason)


# the status there (version 2), that which LabRelay wrote there, the version answered -> news that change it, its status
ORACLE = [
    ("requested", "", "2", ALL, None),
    ("requested", "", "1", (), None),
    ("requested", "", "", (), None),
    ("requested", "accepted", "", (), None),  # asked for anew
    ("cancelled", "", "2", GOES_ON, "cancelled"),
    ("cancelled", "", "1", (), None),
    ("cancelled", "", "", (), None),
    ("cancelled", "completed", "", (), None),
    ("cancelled", "cancelled", "", (), None),
    *((status, "", version, ALL, None) for status in ("received", "accepted", "ready", "in-progress")
      for version in ("", "1")),
    *((status, "", version, (), None) for status in ("completed", "failed", "rejected") for version in ("", "1", "2")),
    *((status, status, "", ALL, None) for status in ("completed", "failed", "rejected", "on-hold")),
    ("failed", "completed", "", (), None),  # its system has ended it after LabRelay
    *((status, "", version, (), None) for status in ("draft", "on-hold", "entered-in-error", "?")
      for version in ("", "1", "2")),
]  # fmt: skip


@pytest.mark.parametrize(("status", "ours", "version", "change", "becomes"), ORACLE)
def test_each_news_changes_only_a_task_that_it_may(
    status: str, ours: str, version: str, change: tuple[str, ...], becomes: str | None
) -> None:
    for one in ALL:
        found = changed(there(status, ours), "2", news(one, version))
        if one not in change or (one == ours == status):
            assert found is None, one
        else:
            assert found is not None, one
            made = json.loads(found)
            assert made["status"] == (becomes or one)
            assert made["businessStatus"]["coding"] == [{"system": STATUS, "code": one}]


def test_news_that_are_there_already_write_nothing() -> None:
    """Else each version of LabRelay's own would be found by the next search, and answered again."""
    for status, version in (("cancelled", "2"), ("accepted", "")):
        first = changed(there(status), "2", news("completed", version, REASON))
        assert first is not None
        again = changed(first, "3", news("completed", "3" if version else "", REASON))
        assert again is None


def test_all_else_keeps_its_bytes() -> None:
    text = """{ "resourceType" : "Task","id":"17", "meta":{"versionId":"2"}, "_status": {"extension":[]},
      "status": "accepted",  "input": [ {"valueDecimal": 1.50, "type":{"text":"\\u00e9 \\/"}} ],
      "businessStatus": {"text": "theirs", "coding": [{"system": "urn:his", "code": "7"}]},
      "statusReason": {"text": "x"}, "big": 12345678901234567890.10 }"""
    found = changed(text, "2", news("in-progress"))
    assert found is not None
    for kept in (
        '"resourceType" : "Task"', '"meta":{"versionId":"2"}', '"_status": {"extension":[]}',
        '"input": [ {"valueDecimal": 1.50, "type":{"text":"\\u00e9 \\/"}} ]', '"statusReason": {"text": "x"}',
        '"big": 12345678901234567890.10',
    ):  # fmt: skip
        assert kept in found
    made = json.loads(found)
    assert made["status"] == "in-progress"
    codings = [{"system": "urn:his", "code": "7"}, {"system": STATUS, "code": "in-progress"}]
    assert made["businessStatus"] == {"text": "theirs", "coding": codings}


def test_a_reason_of_labrelay_leaves_with_its_cause() -> None:
    failed = changed(there("accepted"), "2", news("failed", reason=REASON))
    assert failed is not None
    assert json.loads(failed)["statusReason"] == REASON
    again = changed(failed, "3", news("accepted"))
    assert again is not None
    assert "statusReason" not in json.loads(again)


def bundle(**part_of: Any) -> bytes:
    task = {"resourceType": "Task", "status": "accepted", "partOf": [part_of]}
    return json.dumps(
        {"resourceType": "Bundle", "entry": [{"resource": {"resourceType": "Patient"}}, {"resource": task}]}
    ).encode()


@pytest.mark.parametrize(
    ("value", "found"),
    [("Task/17/2", ("17", "2")), ("Task/17", ("17", "")), ("Task/../x", None), ("Task/", None), ("Patient/17", None)],
)
def test_a_document_names_the_task_that_it_has_news_for(value: str, found: tuple[str, str] | None) -> None:
    body = bundle(reference="Task/17", identifier={"system": "urn:labrelay:polled", "value": value})
    assert [(one.task, one.version) for one in news_in(body)] == ([] if found is None else [found])


def test_a_task_that_is_part_of_another_by_other_means_is_none() -> None:
    assert list(news_in(bundle(reference="Task/17"))) == []
    assert list(news_in(bundle(reference="Task/17", identifier={"system": "urn:his", "value": "Task/17"}))) == []
