"""Whose sample: a patient's, a control's, or a pool's (rule 1).

    SPM-11 empty, P     a patient's
    Q C B E F O R V     controls, calibrators, blanks, replicates, proficiency tests
    L, G, any other     a pool, or nothing that is known: a result of several persons is no person's

Of several specimens of one order that do not say which of them was measured, all have to be a patient's.

Sources: HL7 table 0369; LIS2-A2 O-12; docs/mappings.md, Controls.
"""

from collections.abc import Sequence
from typing import Literal

from engine.model.content.facts import Facts, Order, Result, Sample
from engine.model.content.quality_controls import ASTM_ROLE, PATIENT, ROLES, is_control_number, matches
from engine.succession.judge.words import Receipt

_CONTROLS = frozenset("QCBEFORV")
_SIDES = frozenset({"L", "R"})  # in OBR-15.7 sides of a body

Role = Literal["patient", "control", "pool"]


def is_of_controls(facts: Facts) -> bool:
    """Whether the whole message is a control's (MSH-11, H-12)."""
    return (facts.processing or "").upper().startswith(ASTM_ROLE)


def role_of(order: Order, result: Result, receipt: Receipt) -> Role:
    """Whose the sample of a result is."""
    own = [one for one in order.samples if one.number == result.tube] if result.tube else []
    samples = own or order.samples
    roles = {_role(one, order, is_hl7=receipt.is_hl7) for one in samples} or {"patient"}
    if roles == {"control"} or (receipt.is_hl7 and not _says_patient(samples) and order.role in ROLES):
        return "control"
    if _is_numbered(order, samples, receipt):
        return "control"
    return "patient" if roles == {"patient"} else "pool"


def _role(sample: Sample, order: Order, *, is_hl7: bool) -> Role:
    said = (sample.role or "").strip().upper()
    if not is_hl7:  # O-12 is what is to be done with a sample, and only this code is a role
        return "control" if said == ASTM_ROLE else "patient"
    if said in ("", PATIENT) or (said in _SIDES and sample.role == order.role):
        return "patient"
    return "control" if said in _CONTROLS else "pool"


def _says_patient(samples: Sequence[Sample]) -> bool:
    return any((one.role or "").strip().upper() == PATIENT for one in samples)


def _is_numbered(order: Order, samples: Sequence[Sample], receipt: Receipt) -> bool:
    """Whether its number or its order is one of controls. Where the specimen is said to be a patient's, the
    instrument's own count is no such number."""
    is_hl7, orders = receipt.is_hl7, receipt.orders
    is_patients = is_hl7 and _says_patient(samples)
    tubes = [one.number for one in samples if one.number]
    own = [one for one in (order.filler,) if one and not (is_patients and tubes and one.strip().isdigit())]
    placed = [order.placer] if order.placer and not (tubes or is_patients) else []
    if any(is_control_number(number, receipt.numbers) for number in (*tubes, *own, *placed)):
        return True
    codes = [order.code, order.name] if is_hl7 else (order.code or "").split()
    hits = [matches(code, orders) for code in codes if code]
    return bool(orders and hits) and (any(hits) if is_hl7 else all(hits))
