"""Separate ids for the resources of a reused number. Pure.

The ids of a unique number contain neither patient nor day (`engine.mapping.key_scope`). Under a reused number the same
ids would mean the first specimen's results. So all resources of its reports get new ids, derived from the first ones
and the use of the number.
"""

from collections.abc import Mapping
from dataclasses import replace

from engine.model.message import Document
from engine.model.packing import unpack
from engine.succession.statements import Json, loads, references, rename, resource_id, resources_in

Ids = dict[str, str]  # ids made by the mapping -> ids sent

_URN = "urn:uuid:"


def apart(document: Document, reports: Mapping[str, int]) -> tuple[Document, Ids]:
    """A document under ids of its own, and these ids; unchanged where it is no transaction.

    Args:
        reports: id of a DiagnosticReport -> the use of its number.
    """
    if not reports:
        return document, {}
    try:
        bundle = loads(unpack(document.body) if document.packed else document.body)
        own = {one.identity for one in resources_in(bundle)}
    except ValueError:
        return document, {}
    by_url = {entry["fullUrl"]: entry["resource"] for entry in bundle["entry"]}
    ids: Ids = {}
    for report, use in reports.items():
        for identity in _around(report, own, by_url):
            ids.setdefault(identity, resource_id(f"{identity}\x1f{use}"))
    return replace(document, body=rename(bundle, ids), packed=False), ids


def _around(report: str, own: set[str], by_url: Mapping[str, Json]) -> set[str]:
    """Our resources that a report refers to, and the report itself."""
    found: set[str] = set()
    waiting = [report]
    while waiting:
        identity = waiting.pop()
        if identity in own and identity not in found:
            found.add(identity)
            waiting += [url.removeprefix(_URN) for url in references(by_url[f"{_URN}{identity}"])]
    return found
