"""The page's languages, as gettext catalogues: ``locale/LANGUAGE.po`` is edited, ``LANGUAGE.mo`` is made of it.

Sentences are written so that they need no plural forms ("Dead letters: 3"). Digits are Western in every language, and
days are written as 2026-11-20: all people read them alike.
"""

import gettext
import sys
from functools import cache
from pathlib import Path
from typing import Any

from engine.model.texts.phrases import ENGLISH, Catalogue

LANGUAGES = {  # each by its own name
    "en": "English",
    "hi": "हिन्दी",
    "ta": "தமிழ்",
    "te": "తెలుగు",
    "mr": "मराठी",
    "bn": "বাংলা",
    "kn": "ಕನ್ನಡ",
}
DEFAULT = "en"
FOLDER = Path(__file__).parent / "locale"


@cache
def catalogue(language: str) -> Catalogue:
    """The translations of one of `LANGUAGES`."""
    if language == DEFAULT:
        return ENGLISH
    with (FOLDER / f"{language}.mo").open("rb") as file:
        made: Any = gettext.GNUTranslations(file)
    made._catalog = {sys.intern(english): said for english, said in made._catalog.items()}  # once for all languages
    return made.gettext  # type: ignore[no-any-return]


def choose(asked: str, own: str, accept_language: str) -> str:
    """The language for a reader: the one asked for by ``?lang=``, else that of the user, else the browser's best
    (RFC 9110, 12.5.4)."""
    for known in (asked, own):
        if known in LANGUAGES:
            return known
    best, best_quality = DEFAULT, 0.0
    for item in accept_language.split(",")[:20]:
        tag, _, parameter = item.strip().partition(";")
        language = tag.strip().lower().partition("-")[0]
        quality = _quality(parameter)
        if language in LANGUAGES and quality > best_quality:
            best, best_quality = language, quality
    return best


def _quality(parameter: str) -> float:
    name, _, value = parameter.strip().partition("=")
    if not name:
        return 1.0
    try:
        return float(value) if name.strip() == "q" else 1.0
    except ValueError:
        return 0.0
