"""Documents that the sandbox itself writes: search results, histories, the CapabilityStatement, the page for people.
Pure.
"""

import html
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import orjson

from engine.devtools.sandbox.bundle import instant
from engine.devtools.sandbox.faults import Faults
from engine.devtools.sandbox.rules import TYPES
from engine.devtools.sandbox.search import REFERENCE_PARAMETERS, TOKENS
from engine.devtools.sandbox.store import Version

INTERACTIONS = ("read", "vread", "update", "delete", "history-instance", "create", "search-type")
STYLE = (
    "body{font:16px/1.5 system-ui;max-width:46rem;margin:2rem auto;padding:0 1rem}"
    "th{text-align:left;font-weight:normal;padding-right:2rem}td{text-align:right}"
)


def where(stored: Version) -> dict[str, str]:
    """The part of an entry's response that says what is there now."""
    return {
        "location": f"{stored.type}/{stored.id}/_history/{stored.version}",
        "etag": f'W/"{stored.version}"',
        "lastModified": instant(stored.updated_us),
    }


def searchset(matches: list[Version], total: int, following: str) -> dict[str, Any]:
    """A Bundle of search results; ``following`` is the address of the next page, or empty."""
    bundle: dict[str, Any] = {"resourceType": "Bundle", "type": "searchset", "total": total}
    if following:
        bundle["link"] = [{"relation": "next", "url": following}]
    if matches:
        bundle["entry"] = [{"resource": orjson.Fragment(match.body), "search": {"mode": "match"}} for match in matches]
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
    links = " ".join(
        f'<a href="{html.escape(url)}/{kind}?_count=20">{html.escape(kind)}</a>' for kind in stats["resources"]
    )
    in_force = {name: value for name, value in faults.model_dump(exclude_defaults=True).items() if value}
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=refresh content=5>"
        f"<title>LabRelay sandbox</title><style>{STYLE}</style>"
        f"<h1>LabRelay sandbox</h1><p>A FHIR R4 receiver for development: <code>{html.escape(url)}</code>. "
        "Never for a real patient's data.</p>"
        + _table("Resources", stats["resources"])
        + f"<p>{links}</p>"
        + _table("Requests", stats["requests"])
        + _table("Faults made", stats["faults"])
        + _table("Faults in force", in_force)
    )


def _table(title: str, values: dict[str, Any]) -> str:
    rows = "".join(f"<tr><th>{html.escape(name)}<td>{html.escape(str(value))}" for name, value in values.items())
    return f"<h2>{title}</h2><table>{rows or '<tr><td>none'}</table>"


def _version() -> str:
    try:
        return version("labrelay")
    except PackageNotFoundError:
        return "unknown"
