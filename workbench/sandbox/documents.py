"""Documents that the sandbox itself writes: search results, histories, the CapabilityStatement, the page for people.
Pure.
"""

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import orjson

from engine.web.page_templates import templates
from workbench.sandbox.bundle import instant
from workbench.sandbox.faults import Faults
from workbench.sandbox.rules import TYPES
from workbench.sandbox.search import REFERENCE_PARAMETERS, TOKENS
from workbench.sandbox.store import Version

INTERACTIONS = ("read", "vread", "update", "delete", "history-instance", "create", "search-type")


def where(stored: Version) -> dict[str, str]:
    """The part of an entry's response that says what is there now."""
    return {
        "location": f"{stored.type}/{stored.id}/_history/{stored.version}",
        "etag": f'W/"{stored.version}"',
        "lastModified": instant(stored.updated_us),
    }


def searchset(matches: list[Version], total: int, following: str, included: Sequence[Version] = ()) -> dict[str, Any]:
    """A Bundle of search results; ``following`` is the address of the next page, or empty."""
    bundle: dict[str, Any] = {"resourceType": "Bundle", "type": "searchset", "total": total}
    if following:
        bundle["link"] = [{"relation": "next", "url": following}]
    if matches:
        bundle["entry"] = [
            {"resource": orjson.Fragment(one.body), "search": {"mode": mode}}
            for mode, found in (("match", matches), ("include", included))
            for one in found
        ]
    return bundle


def history(versions: list[Version]) -> dict[str, Any]:
    """A Bundle of all versions of a resource."""
    entries = []
    for stored in versions:
        entry: dict[str, Any] = {
            "request": {"method": stored.method, "url": f"{stored.type}/{stored.id}"},
            "response": {"status": "204" if stored.deleted else "200"} | where(stored),
        }
        if not stored.deleted:
            entry["resource"] = orjson.Fragment(stored.body)
        entries.append(entry)
    return {"resourceType": "Bundle", "type": "history", "total": len(entries), "entry": entries}


def capability_statement(base: str, now_us: int) -> dict[str, Any]:
    """The capabilities of this server."""
    kind: dict[str, Any] = {
        "interaction": [{"code": code} for code in INTERACTIONS],
        "versioning": "versioned",
        "readHistory": True,
        "updateCreate": True,
        "conditionalCreate": True,
        "conditionalUpdate": True,
        "searchParam": [
            *({"name": name, "type": "token"} for name in ("_id", *TOKENS)),
            *({"name": name, "type": "reference"} for name in sorted(REFERENCE_PARAMETERS)),
            {"name": "_lastUpdated", "type": "date"},
        ],
    }
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": instant(now_us),
        "kind": "instance",
        "software": {"name": "LabRelay sandbox", "version": _version()},
        "implementation": {"description": "A receiver for development and tests", "url": base},
        "fhirVersion": "4.0.1",
        "format": ["json"],
        "rest": [
            {
                "mode": "server",
                "resource": [{"type": name, **kind} for name in sorted(TYPES)],
                "interaction": [{"code": "transaction"}, {"code": "batch"}],
            }
        ],
    }


def summary(url: str, stats: dict[str, Any], faults: Faults) -> str:
    """The page for people: counters, faults, and a way to look at the newest resources of each type."""
    in_force = {name: value for name, value in faults.model_dump(exclude_defaults=True).items() if value}
    made = [(name.capitalize(), stats[name]) for name in ("resources", "requests")]
    tables = [*made, ("Faults made", stats["faults"]), ("Faults in force", in_force)]
    return templates(Path(__file__).parent).get_template("page.html").render(url=url, tables=tables)


def _version() -> str:
    try:
        return version("labrelay")
    except PackageNotFoundError:
        return "unknown"
