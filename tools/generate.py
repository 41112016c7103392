"""Renew every file that is made from the code, or from a library, and committed: `make docs`.

Each module of `MAKERS` gives its files whole, as they should be; those that differ are written. What is made of
published definitions (`generate_r4_tables.py`, `generate_hl7_codes.py`) needs a download and is renewed by hand.
"""

from pathlib import Path

from tools import generate_docs, generate_hl7_tables, generate_openapi, generate_schemas

CHECKOUT = Path(__file__).resolve().parents[1]
MAKERS = (generate_docs, generate_schemas, generate_hl7_tables, generate_openapi)


def outdated() -> dict[str, str]:
    """The files that differ from what the code says now, by their paths in the checkout, with what they should be."""
    files = {path: text for maker in MAKERS for path, text in maker.files().items()}
    return {
        str(path.relative_to(CHECKOUT)): text
        for path, text in files.items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    }


if __name__ == "__main__":
    for name, text in outdated().items():
        print(name)
        (CHECKOUT / name).write_text(text, encoding="utf-8")
