"""Control results as FHIR R4: Observations whose subject is the analyzer, never a patient, of the control material."""

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import orjson

from engine.features.quality_control.rows.reading import PointView
from engine.features.quality_control.rules.westgard import number_in
from engine.model.process.clock import from_us

CATEGORY = {"coding": [{"system": "urn:labrelay:category", "code": "quality-control"}]}
Json = dict[str, Any]


def bundle(points: Sequence[PointView]) -> bytes:
    """A collection: each analyzer and each control once, behind what was measured of them."""
    entries: dict[str, Json] = {}
    for one in points:
        for resource in _resources(one):
            entries.setdefault(resource["id"], resource)
    made = [{"fullUrl": f"urn:uuid:{number}", "resource": resource} for number, resource in entries.items()]
    whole: Json = {"resourceType": "Bundle", "type": "collection"}
    return orjson.dumps(whole | {"entry": made} if made else whole, option=orjson.OPT_INDENT_2)


def _resources(one: PointView) -> Iterator[Json]:
    device = _id("device", one.channel, one.module)
    sample = _id("control", one.channel, one.number, one.level, one.lot)
    name = " ".join(filter(None, (one.channel, one.module)))
    said = (
        ("verdict", one.verdict),
        ("rules", one.rules),
        ("z", one.z),
        ("excluded", one.excluded),
        ("not evaluated", one.why),
    )
    notes = [{"text": f"{word}: {text}"} for word, text in said if text]
    yield {
        "resourceType": "Observation",
        "id": _id("point", one.channel, str(one.id), str(one.measured_us)),
        "status": "final",
        "category": [CATEGORY],
        "code": {"text": one.test},
        "subject": {"reference": f"urn:uuid:{device}"},
        "effectiveDateTime": from_us(one.measured_us).isoformat(),
        "issued": from_us(one.received_us).isoformat(),
        **_value(one),
        **({"note": notes} if notes else {}),
        "specimen": {"reference": f"urn:uuid:{sample}"},
    }
    yield {
        "resourceType": "Device",
        "id": device,
        "deviceName": [{"name": name, "type": "user-friendly-name"}],
    }
    yield {
        "resourceType": "Specimen",
        "id": sample,
        "type": {"text": " ".join(filter(None, ("control", one.level, one.lot and f"lot {one.lot}")))},
        "subject": {"reference": f"urn:uuid:{device}"},
        **({"identifier": [{"value": one.number}]} if one.number else {}),
    }


def _value(one: PointView) -> Json:
    """As it was sent, with its digits."""
    if not one.value:
        return {"dataAbsentReason": {"text": "not kept"}}
    if (number := number_in(one.value)) is None or not number.is_finite():
        return {"valueString": one.value}
    quantity: Json = {"value": orjson.Fragment(f"{number:f}")}
    return {"valueQuantity": quantity | ({"unit": one.unit} if one.unit else {})}


def _id(*parts: str) -> str:
    return str(uuid5(NAMESPACE_URL, "\0".join(("labrelay", "quality", *parts))))
