"""The catalogues that the pages read (``LANGUAGE.mo``), made of those that people edit (``LANGUAGE.po``).

Babel reads, checks and compiles them: a build tool. The daemon reads the result with the standard library's gettext.
"""

from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

import engine.features
from engine.web.languages import DEFAULT, FOLDER, LANGUAGES

FEATURES = Path(engine.features.__path__[0])
TRANSLATED = sorted(set(LANGUAGES) - {DEFAULT})
SOME_DAY = datetime(2026, 1, 1, tzinfo=UTC)  # the same catalogue gives the same bytes


def places(language: str) -> list[Path]:
    """The files with the texts of a language: that of the core, and those of features that have texts of their own."""
    return [FOLDER / f"{language}.po", *sorted(FEATURES.glob(f"*/locale/{language}.po"))]


def read(language: str) -> Catalog:
    """A catalogue as its people edit it.

    Raises:
        babel.messages.pofile.PoFileError: a file of it is none, with its line.
    """
    found = Catalog(locale=language)
    for path in places(language):
        with path.open("rb") as file:
            for one in read_po(file, locale=language, abort_invalid=True):
                found[one.id] = one
    return found


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
