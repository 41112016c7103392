"""Corrections of which the files have changed since (`labrelay check`), and suggestions (`labrelay analyzers show`)."""

from collections.abc import Iterator, Sequence

from engine.config.load import Site
from engine.diagnostics.packs import Pack, PackWords, loinc_gaps, suggestions_of
from engine.features.codes.lists import SUGGESTION, gap_words, in_words
from engine.features.codes.service.corrections import disagreements
from engine.mapping.code_tables.corrected import named
from engine.model.site.corrections import Correction, name_of


def doubts(site: Site, corrections: Sequence[Correction]) -> Iterator[str]:
    """A line for each: they still decide."""
    for one, now, taken in disagreements(site, corrections):
        said = f"{name_of(one.channel, one.table)}:1:1: correction {one.version} ({in_words(one.key)})"
        back = f"labrelay tables undo {one.version}, or leave it"
        if taken:
            yield f"{said} takes the place of rows of the files that are new or changed: {named(taken)}: {back}"
        if now != one.covers or not taken:
            yield (
                f"{said} was made above {in_words(one.covers) or 'no row'} of the files, which now say "
                f"{in_words(now) or 'nothing'}; it still decides: {back}"
            )


def of_pack(pack: Pack) -> PackWords:
    """What is suggested for the codes of a pack that have no LOINC code."""
    return PackWords({"suggestions": SUGGESTION.rows(suggestions_of(pack))}, [*gap_words(loinc_gaps(pack))])
