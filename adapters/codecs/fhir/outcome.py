"""Read an OperationOutcome without patient data: the kinds and places of its errors. Pure.

    {"issue": [{"severity": "error", "code": "value", "expression": ["Bundle.entry[4].resource.status"], ...}]}

    ->  value at Bundle.entry[4].resource.status

Anything else in it may repeat data that the server was sent: its words, and codes and places that R4 does not have
(valueset-issue-type.html; FHIRPath, as operationoutcome.html has it).
"""

import json
import re

ISSUES = 3  # the first are reported; a server that checks a Bundle may list hundreds
MAX_READ = 64 * 1024
_CODE = re.compile(
    "invalid|structure|required|value|invariant|security|login|unknown|expired|forbidden|suppressed|processing|"
    "not-supported|duplicate|multiple-matches|not-found|deleted|too-long|code-invalid|extension|too-costly|"
    "business-rule|conflict|transient|lock-error|no-store|exception|timeout|incomplete|throttled"
)
_PLACE = re.compile(
    r"(?:Bundle|Patient|Observation|DiagnosticReport|Specimen|ServiceRequest|Organization|Practitioner|PractitionerRole|"
    r"Encounter|Device|Provenance|Composition|Binary|DocumentReference|Media)"
    r"(?:\.(?:entry|resource|request|identifier|status|code|coding|system|value|unit|subject|performer|specimen|result|"
    r"basedOn|effective|issued|interpretation|referenceRange|component|category|name|birthDate|gender|type|text|meta|"
    r"reference|extension|language|collection|ofType\([A-Za-z]{1,20}\)|value[A-Z][A-Za-z]{1,20}|effective[A-Z][A-Za-z]{1,10})"
    r"(?:\[\d{1,5}\])?|/\*[A-Za-z]{1,30}/[0-9a-f-]{0,36}\*/)*"
)


def reasons(answer: bytes) -> str:
    """``value at Bundle.entry[4].resource.status; required at Patient.name``, or nothing."""
    if not answer.startswith(b"{") or len(answer) > MAX_READ:
        return ""
    try:
        outcome = json.loads(answer)
        if outcome["resourceType"] != "OperationOutcome":
            return ""
        found = [_reason(issue) for issue in outcome["issue"] if issue.get("severity") in ("error", "fatal")]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ""
    return "; ".join(list(dict.fromkeys(filter(None, found)))[:ISSUES])


def _reason(issue: dict[str, object]) -> str:
    code = str(issue.get("code"))
    places = issue.get("expression") or issue.get("location")
    known = (
        [one for one in places if isinstance(one, str) and _PLACE.fullmatch(one)] if isinstance(places, list) else []
    )
    place = known[0] if known else ""
    return " at ".join(filter(None, (code if _CODE.fullmatch(code) else "", place)))
