"""What a FHIR document has of the worklist, and not of the sender: it is no part of a result that is compared. Pure."""

from typing import Any

OWN_AUTHOR = "LabRelay"  # Annotation.authorString of a note that is ours
OURS = frozenset({"basedOn", "note"})  # elements that may have some


def without_ours(resource: dict[str, Any]) -> dict[str, Any]:
    """A resource as its sender gave it. A reference of a mapping has an address; ours has an identifier alone."""
    if OURS.isdisjoint(resource):
        return resource
    said = {
        "basedOn": [one for one in resource.get("basedOn", ()) if "reference" in one],
        "note": [one for one in resource.get("note", ()) if one.get("authorString") != OWN_AUTHOR],
    }
    rest = {name: value for name, value in resource.items() if name not in OURS}
    return rest | {name: value for name, value in said.items() if value}
