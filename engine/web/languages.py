"""The page's languages: gettext catalogues (``locale/<language>.po``), read without a compile step.

Only what these files use is read: ``msgid``/``msgstr`` pairs over one or more lines and comments. Sentences are
written so that they need no plural forms ("Dead letters: 3").
"""

import ast
import re
from functools import cache
from pathlib import Path

from engine.model.phrases import ENGLISH, Catalogue

LANGUAGES = {"en": "English", "hi": "हिन्दी"}  # each by its own name
DEFAULT = "en"
_FOLDER = Path(__file__).parent / "locale"
_ENTRY = re.compile(r'^(msgid|msgstr)((?:\s+"(?:[^"\\]|\\.)*"\s*$)+)', re.MULTILINE)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


@cache
def catalogue(language: str) -> Catalogue:
    """The translations of one of `LANGUAGES`."""
    if language == DEFAULT:
        return ENGLISH
    return read_po((_FOLDER / f"{language}.po").read_text(encoding="utf-8"))


def read_po(text: str) -> dict[str, str]:
    """The translations in the text of a ``.po`` file; entries without one, and the header, are left out."""
    found: dict[str, str] = {}
    source = ""
    for kind, quoted in _ENTRY.findall(text):
        value = "".join(ast.literal_eval(part) for part in _STRING.findall(quoted))
        if kind == "msgid":
            source = value
        elif source and value:
            found[source] = value
    return found


def choose(asked: str, accept_language: str) -> str:
    """The language for a reader: the one asked for by ``?lang=``, else the browser's best (RFC 9110, 12.5.4)."""
    if asked in LANGUAGES:
        return asked
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
