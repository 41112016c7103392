"""Issues as messages of a laboratory, their documents by the mapping, and which issue a decrypted document is."""

import json
from decimal import Decimal
from functools import cache
from typing import Any

from tests.documents.test_abdm_documents import verdict
from tests.histories.abdm.model import Abha, Issue
from tests.support.abdm_reports import SETTINGS
from workbench.abdm.people import PEOPLE

MARK = 10_000  # of a value


def message(issue: Issue) -> bytes:
    """An ORU^R01."""
    one, day = PEOPLE[issue.who], f"{issue.day:%Y%m%d}"
    family, given = one.name.split()[-1], " ".join(one.name.split()[:-1])
    ids = "".join(f"~{text}" for text in _abha(issue))
    minute = issue.minute or 0
    at = f"{day}{10 + minute // 60:02}{minute % 60:02}00+0530"
    said, status = (day if issue.minute is None else at), "C" if issue.corrects else "F"
    born = "{:04}{:02}{:02}".format(*one.birth)
    return "\r".join(
        [
            f"MSH|^~\\&|LIS|LAB|||{at}||ORU^R01^ORU_R01|M-{issue.value}|P|2.5.1||||||UNICODE UTF-8",
            f"PID|1||PID-{issue.who}^^^LAB^MR{ids}||{family}^{given}||{born}|{one.gender}|||||{one.mobile}",
            f"OBR|1||{issue.accession}|GLU^Glucose^L|||{day}091500|||||||||||||||{said}||CH|{status}",
            f"OBX|1|NM|2345-7^Glucose^LN||{MARK + issue.value}.50|mg/dL|70-110|H|||{status}|||{day}094500",
            "",
        ]
    ).encode()


def _abha(issue: Issue) -> list[str]:
    one = PEOPLE[issue.other if issue.abha is Abha.OTHER else issue.who]
    number = one.number or ""
    if issue.abha is Abha.DOUBTFUL:
        number = f"{number[:-1]}{(int(number[-1]) + 1) % 10}" if number else "91100000000017"
        return [f"{number}^^^NDHM^HIN"]
    has_number = bool(number) and issue.abha in (Abha.BOTH, Abha.NUMBER, Abha.OTHER)
    has_address = issue.abha in (Abha.BOTH, Abha.ADDRESS, Abha.OTHER)
    return [f"{number}^^^NDHM^HIN"] * has_number + [f"{one.address}^^^NDHM^ABHA"] * has_address


@cache
def document(issue: Issue) -> bytes:
    said: dict[str, Any] = SETTINGS | {"hfr_id": issue.facility, "abha": "later", "patient_system": "urn:example:city"}
    found = verdict(message(issue), **said)
    assert len(found.documents) == 1, found.detail
    body = bytes(found.documents[0][0].body)
    return _without_numbers(body) if issue.abha is Abha.COUNTED else body


def _without_numbers(body: bytes) -> bytes:
    """As a mapping of a site's own makes it: a number that is given again stands in no document."""
    tree = json.loads(body)
    for one in tree["entry"]:
        if one["resource"]["resourceType"] == "Patient":
            del one["resource"]["identifier"]
    return json.dumps(tree).encode()


def value_of(body: str) -> int:
    """By which `Issue.value` a document is known."""
    tree = json.loads(body, parse_float=Decimal)
    (found,) = [one["resource"] for one in tree["entry"] if one["resource"]["resourceType"] == "Observation"]
    return int(found["valueQuantity"]["value"]) - MARK
