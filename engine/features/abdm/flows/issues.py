"""The issues of a report as the row of its care context keeps them, sealed: what decides on the next one."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from engine.features.abdm.rows.contexts import Context
from engine.features.abdm.rules import care_contexts
from engine.features.abdm.rules.abha import AbhaAddress, AbhaNumber
from engine.features.abdm.rules.care_contexts import ENDS, GENDERS, Known, Report, Wait

ISSUES = "issues"
NEVER = "never"


def content_of(report: Report, known: Known, whose: object) -> dict[str, Any]:
    """The content of a row: what the app shows, the patient as the report has him, and its issues.

    Args:
        whose: its patient, or a `Wait`; one of `ENDS` stays with the version, also when its context changes.
    """
    never = {NEVER: whose.value} if isinstance(whose, Wait) and whose in ENDS else {}
    return never | {
        "display": care_contexts.display(report.issued),
        "patient": _patient(report),
        ISSUES: written(known),
    }


def _patient(report: Report) -> dict[str, Any]:
    """The patient as the report has him, in the words of FHIR (`engine.features.abdm.rules.links.held` reads it)."""
    own = [report.own_number, *sorted(number for _, number in report.own_numbers)]
    found = [
        *(("ABHA", one.text) for one in sorted(report.addresses)),
        *(("HIN", one.digits) for one in sorted(report.numbers)),
        *(("MR", number) for number in dict.fromkeys(own) if number),
    ]
    said: dict[str, Any] = {
        "identifier": [{"type": {"coding": [{"code": kind}]}, "value": text} for kind, text in found],
        "name": [{"text": report.name}],
        "gender": next(word for word, letter in GENDERS.items() if letter == report.gender),
        "telecom": [{"system": "phone", "value": one} for one in sorted(report.mobiles)],
    }
    return said | ({"birthDate": f"{report.birth_year:04}"} if report.birth_year is not None else {})


def never(context: Context) -> Wait | None:
    """Why no link is ever made of the newest version of a report; None: one may be."""
    said = context.content.get(NEVER) or context.reason
    return Wait(said) if said in ENDS else None


def written(known: Known) -> dict[str, Any]:
    return {
        "document": known.document,
        "version": known.version,
        "digest": known.digest.hex(),
        "patient": known.patient,
        "issue": known.issue,
        "issued": known.issued.isoformat(),
        "day": known.day.isoformat(),
        "is_day_alone": known.is_day_alone,
        "is_correction": known.is_correction,
        "seen": [one.hex() for one in known.seen],
        "numbers": sorted(one.digits for one in known.numbers),
        "addresses": sorted(one.text for one in known.addresses),
        "overruled": sorted(one.digits for one in known.overruled),
        "is_by_hand": known.is_by_hand,
    }


def known_of(context: Context | None) -> Known | None:
    """None: there is no context, or nothing is left of it."""
    said: Mapping[str, Any] | None = context.content.get(ISSUES) if context is not None else None
    if context is None or said is None:
        return None
    return Known(
        facility=context.facility,
        document=said["document"],
        version=said["version"],
        digest=bytes.fromhex(said["digest"]),
        patient=said["patient"],
        issue=said["issue"],
        issued=date.fromisoformat(said["issued"]),
        day=date.fromisoformat(said["day"]),
        is_day_alone=said["is_day_alone"],
        is_correction=said["is_correction"],
        seen=tuple(map(bytes.fromhex, said["seen"])),
        numbers=_numbers(said["numbers"]),
        addresses=frozenset(map(AbhaAddress, said["addresses"])),
        overruled=_numbers(said["overruled"]),
        is_by_hand=said["is_by_hand"],
    )


def _numbers(digits: list[str]) -> frozenset[AbhaNumber]:
    return frozenset(map(AbhaNumber, digits))
