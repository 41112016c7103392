"""Renew every file that is made from the code, or from a library, and committed: `make docs`.

Each module of `MAKERS` gives its files whole, as they should be; those that differ are written. What is made of
published definitions (`generate_r4_tables.py`, `generate_hl7_codes.py`) needs a download and is renewed by hand.
"""

from collections.abc import Iterator
from pathlib import Path

from tools import generate_catalogues, generate_hl7_tables, generate_openapi, generate_schemas

CHECKOUT = Path(__file__).resolve().parents[1]
MAKERS = (generate_catalogues, generate_schemas, generate_hl7_tables, generate_openapi)


def outdated() -> dict[str, bytes]:
    """The files that differ from what the code says now, by their paths in the checkout, with what they should be."""
    return {
        str(path.relative_to(CHECKOUT)): content
        for path, content in _made()
        if not path.is_file() or path.read_bytes() != content
    }


def _made() -> Iterator[tuple[Path, bytes]]:
    for maker in MAKERS:
        for path, made in maker.files().items():
            yield path, made if isinstance(made, bytes) else made.encode("utf-8")


if __name__ == "__main__":
    for name, content in outdated().items():
        print(name)
        (CHECKOUT / name).write_bytes(content)
