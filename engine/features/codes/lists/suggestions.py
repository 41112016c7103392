"""Suggestions of analyzer packs for codes."""

from collections.abc import Iterator

from engine.diagnostics.suggested import LoincGaps
from engine.mapping.suggestions import Suggestion
from engine.views.text import plural
from engine.views.view import Field, View

SUGGESTION = View[Suggestion](
    "suggestions",
    Field("analyzer"),
    Field("code", "CODE"),
    Field("unit_in", "UNIT"),
    Field("analyte", "ANALYTE"),
    Field("loinc", "LOINC", of=lambda one: one.loinc or None, shown=lambda one: one.loinc or "-"),
    Field("display", "MEANS"),
    Field("type"),
    Field("scale"),
    Field("ucum"),
    Field("property"),
    Field("specimen", "SPECIMEN"),
    Field("assumes", "TRUE ONLY IF"),
    Field("by", "BY"),
    Field("source", "SOURCE"),
    Field("link"),
    Field("status", "STATUS"),
)


def gap_words(gaps: LoincGaps) -> Iterator[str]:
    """What is known of the codes of a pack that have no LOINC code, one sentence a line; nothing where each has one."""
    if gaps.suggested:
        count = plural(len(gaps.suggested), "code")
        yield f"{count} without a LOINC code, with suggestions (unconfirmed): {', '.join(gaps.suggested)}"
    if gaps.unknown:
        count = plural(len(gaps.unknown), "code")
        yield f"{count} without a LOINC code, and no published source was found: {', '.join(gaps.unknown)}"
