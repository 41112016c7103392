"""The orders of a document's results, as it names them. Pure.

    FHIR transaction    Observation and DiagnosticReport: basedOn, a reference by the order's identifier
    HL7 v2              ORC-2, ORC-3, OBR-2, OBR-3, where they are empty
    a late result       Observation.note, NTE: when the order was given up

A number that the message has stays. A result is found by the number of its specimen and the code of its test; of two
orders for one test it is that of the work step that the document names beside it (IHE LAW, OBR-2). Documents of other
kinds stay as they are.

Source: FHIR R4, Reference.identifier; HL7 v2.5.1, 4.5.1.2, 4.5.1.3; table 0203 (PLAC, FILL).
"""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from engine.model.orders import item_id
from engine.succession import hl7_statements
from engine.succession.order_marks import OWN_AUTHOR
from engine.succession.statements import Json, loads

FHIR = "application/fhir+json"
_KINDS = "http://terminology.hl7.org/CodeSystem/v2-0203"


def with_orders(body: bytes, media_type: str, orders: Sequence[Json]) -> bytes:
    """A document that names the orders of its results; one that is not of our making comes back as it is.

    Args:
        orders: each with the ``specimen`` and ``codes`` of its results; ``item``, its number on the worklist (without
            it these are results of no order, beside one with the same code); ``placer``, ``namespace``, ``filler``
            where its order has them; ``late``: words about an order that was given up.
    """
    try:
        if media_type == hl7_statements.MEDIA_TYPE:
            return _hl7(body, orders)
        if media_type != FHIR:
            return body
        bundle = loads(body)
        if bundle.get("type") != "transaction":
            return body
        return orjson.dumps(bundle) if _name_in(bundle, orders) else body
    except (ValueError, KeyError, TypeError, AttributeError):  # what a mapping of the site makes may have any shape
        return body


# -- FHIR ----------------------------------------------------------------------------------------------------------


def _name_in(bundle: Json, orders: Sequence[Json]) -> bool:
    by_url = {entry["fullUrl"]: entry["resource"] for entry in bundle.get("entry", ())}
    found: dict[str, Json] = {}
    steps = {url: _numbers(resource, by_url) for url, resource in by_url.items()}
    for url, resource in by_url.items():  # the report of one work step names it for its results
        if resource["resourceType"] == "DiagnosticReport":
            for one in resource.get("result", ()):
                steps.setdefault(one.get("reference", ""), set()).update(steps[url])
    for url, resource in by_url.items():
        if resource["resourceType"] == "Observation" and (order := _order_of(resource, by_url, orders, steps[url])):
            found[url] = order
            _point(resource, [order], by_url)
            if late := order.get("late"):
                resource["note"] = [*resource.get("note", ()), {"authorString": OWN_AUTHOR, "text": late}]
    for resource in by_url.values():
        if resource["resourceType"] == "DiagnosticReport":
            listed = [found[one["reference"]] for one in resource.get("result", ()) if one.get("reference") in found]
            _point(resource, listed, by_url)
    return bool(found)


def _order_of(resource: Json, by_url: dict[str, Json], orders: Sequence[Json], steps: set[Any]) -> Json | None:
    concept = resource.get("code", {})
    codes = {one.get("code") for one in concept.get("coding", ())} | {concept.get("text")}
    tube = by_url.get(resource.get("specimen", {}).get("reference", ""), {})
    specimens = {one.get("value") for one in tube.get("identifier", ())}
    return _the_one(orders, codes, specimens, steps)


def _numbers(resource: Json, by_url: dict[str, Json]) -> set[Any]:
    """The numbers of the requests that a resource is based on."""
    return {
        one.get("value")
        for reference in resource.get("basedOn", ())
        for one in by_url.get(reference.get("reference", ""), {}).get("identifier", ())
    }


def _the_one(orders: Sequence[Json], codes: Iterable[Any], specimens: set[Any], steps: set[Any]) -> Json | None:
    """The order of a result; None where there is none, or specimen, code and work step do not say which one it is."""
    codes = set(codes)
    near = [one for one in orders if one["specimen"] in specimens and not codes.isdisjoint(one["codes"])]
    if len({one.get("item") for one in near}) > 1:
        near = [one for one in near if one.get("item") and item_id(one["item"]) in steps]
    items = {one.get("item") for one in near}
    return near[0] if len(items) == 1 and None not in items else None


def _point(resource: Json, orders: Iterable[Json], by_url: dict[str, Json]) -> None:
    there = resource.get("basedOn", [])
    named = _numbers(resource, by_url)
    made = [_reference(one) for one in orders if one.get("placer") or one.get("filler")]
    new = [one for at, one in enumerate(made) if one not in made[:at] and one["identifier"]["value"] not in named]
    if new:
        resource["basedOn"] = [*there, *new]


def _reference(order: Json) -> Json:
    kind, number = ("PLAC", order["placer"]) if order.get("placer") else ("FILL", order["filler"])
    namespace = order.get("namespace", "") if kind == "PLAC" else ""
    identifier: Json = {"type": {"coding": [{"system": _KINDS, "code": kind}]}}
    if ":" in namespace:
        identifier["system"] = namespace
    identifier["value"] = number
    if namespace and ":" not in namespace:
        identifier["assigner"] = {"display": namespace}
    return {"type": "ServiceRequest", "identifier": identifier}


# -- HL7 v2 --------------------------------------------------------------------------------------------------------


def _hl7(body: bytes, orders: Sequence[Json]) -> bytes:
    if not body.startswith(b"MSH") or len(body) < 9:
        raise ValueError("no HL7 v2 message")
    text = body.decode("latin-1")  # bytes of any character set stay as they are
    field, component, signs = text[3], text[4], set(text[3:8])
    lines = [line.split(field) for line in text.split("\r") if line]
    out: list[list[str]] = []
    for group in _groups(lines):
        tubes = {_first(_at(one, at), component) for one in group for at in _TUBES.get(one[0], ())} - {""}
        steps = {_first(_at(one, 2), component) for one in group if one[0] in ("ORC", "OBR")}
        meant: list[Json] = []
        made: list[list[str]] = []
        for one in group:
            made.append(one)
            order = _the_one(orders, [_first(_at(one, 3), component)], tubes, steps) if one[0] == "OBX" else None
            if order is not None:
                meant.append(order)
                if late := order.get("late"):
                    made.append(["NTE", "1", "L", late])
        numbers = {(one.get("placer", ""), one.get("namespace", ""), one.get("filler", "")) for one in meant}
        if len(numbers) == 1:
            placer, namespace, filler = numbers.pop()
            said = [one if one.isascii() and signs.isdisjoint(one) else "" for one in (placer, namespace, filler)]
            placed = component.join(said[:2]) if said[0] and said[1] else said[0]
            for one in made:
                if one[0] in ("ORC", "OBR"):
                    _fill(one, 2, placed)
                    _fill(one, 3, said[2])
        out += made
    return "\r".join([*(field.join(one) for one in out), ""]).encode("latin-1")


_TUBES = {"OBR": (2, 3), "SPM": (2,), "SAC": (3,)}


def _groups(lines: list[list[str]]) -> list[list[list[str]]]:
    """The lines of each order; what is in front of the first is a group of its own."""
    groups: list[list[list[str]]] = [[]]
    for one in lines:
        names = [other[0] for other in groups[-1]]
        if one[0] in ("PID", "ORC") or (one[0] == "OBR" and not ("ORC" in names and "OBR" not in names)):
            groups.append([])
        groups[-1].append(one)
    return groups


def _fill(fields: list[str], at: int, text: str) -> None:
    if text and not _at(fields, at):
        fields += [""] * (at + 1 - len(fields))
        fields[at] = text


def _first(text: str, component: str) -> str:
    return text.partition(component)[0].partition("&")[0]


def _at(fields: list[str], place: int) -> str:
    return fields[place] if len(fields) > place else ""
