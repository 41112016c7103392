"""The catalogues that the pages read (``LANGUAGE.mo``), made of those that people edit (``LANGUAGE.po``).

Babel reads, checks and compiles them: a build tool. The daemon reads the result with the standard library's gettext.
"""

from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

from engine.web.languages import DEFAULT, FOLDER, LANGUAGES

TRANSLATED = sorted(set(LANGUAGES) - {DEFAULT})
SOME_DAY = datetime(2026, 1, 1, tzinfo=UTC)  # the same catalogue gives the same bytes


def read(language: str) -> Catalog:
    """A catalogue as its people edit it.

    Raises:
        babel.messages.pofile.PoFileError: it is none, with its line.
    """
    with (FOLDER / f"{language}.po").open("rb") as file:
        return read_po(file, locale=language, abort_invalid=True)


def files() -> dict[Path, bytes]:
    """The compiled catalogues. A draft (*fuzzy*) is left out."""
    made = {}
    for language in TRANSLATED:
        catalogue = read(language)
        catalogue.creation_date = catalogue.revision_date = SOME_DAY
        written = BytesIO()
        write_mo(written, catalogue)
        made[FOLDER / f"{language}.mo"] = written.getvalue()
    return made
