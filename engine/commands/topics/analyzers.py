"""The shipped packs of analyzers, and their codes without LOINC."""

from collections.abc import Iterator, Sequence

from engine.commands.analyzers import summary
from engine.commands.topics.tables import code, rows
from engine.diagnostics.packs import loinc_gaps, packs


def markdown() -> str:
    return "\n".join(("# Shipped packs", "", *shipped_analyzers()))


def shipped_analyzers() -> Iterator[str]:
    found, bare, open_codes = [], [], []
    for one in packs():
        row, gaps = summary(one), loinc_gaps(one)
        if row["unmapped"] and not row["codes"]:
            bare.append(code(one.name))
        words = [row["maker"], ", ".join(row["models"]), row["measures"], ", ".join(row["seen"])]
        found.append(
            (code(one.name), *words, *(str(row[kind]) for kind in ("codes", "unmapped", "suggested", "left_out")))
        )
        open_codes += [(code(one.name), _listed(gaps.suggested), _listed(gaps.unknown))] if row["unmapped"] else []
    yield from rows(
        "pack | maker | models | measures | seen | codes | without LOINC | of these suggested | no results", found
    )
    yield ""
    yield f"No code of these packs has a LOINC code yet: {', '.join(bare)}. Their results go out under the"
    yield "analyzer's own codes, and the page counts them as codes without a mapping."
    yield ""
    yield "Codes without a LOINC code, and whether a published source suggests a meaning:"
    yield ""
    yield from rows("pack | suggested, unconfirmed | no published source was found", open_codes)


def _listed(codes: Sequence[str]) -> str:
    return ", ".join(map(code, codes))
