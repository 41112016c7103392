"""Catalogues: complete, with the same gaps as the English sentence, and no longer than a cell can take."""

import ast
import re
import unicodedata
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path
from string import Formatter
from types import ModuleType
from typing import get_args

import pytest

from engine.features.access.rules.accounts import shown_name
from engine.features.access.service import passwords
from engine.features.alerts.config import AlertsConfig
from engine.features.todo.rules import _notices
from engine.model.errors import RefusedError
from engine.model.texts.phrases import Phrase, Said
from engine.model.texts.reasons import ReasonCode
from engine.monitoring.snapshot.site import About, Notice, notices
from engine.runtime.observing import notices as notices_of_a_site
from engine.web import cells, desk, languages
from tests.support.page_texts import page_texts
from tests.support.status_sites import quiet_site
from tools import generate_catalogues

ENGINE = Path(languages.__file__).parents[1]
CATALOGUE = "engine/web/locale/{}.po"
TRANSLATED = generate_catalogues.TRANSLATED


@cache
def said() -> frozenset[str]:
    """Every English sentence that the page can say."""
    return page_texts() | with_numbers()


def with_numbers() -> set[str]:
    """Refusals that are put together, with a number in them."""
    found = set()
    for check, given in (
        (passwords.raise_if_weak, ("short", "asha")),
        (passwords.raise_if_no_pin, ("1",)),
        (shown_name, ("",)),
    ):
        with pytest.raises(RefusedError) as caught:
            check(*given)  # type: ignore[operator]
        found.add(desk.sentence(str(caught.value)))
    return found


def test_each_kind_of_mark_is_found() -> None:
    """A template's, a type of a constant, a table or a field, a call; a refusal as a sentence."""
    assert {
        "Sent to",  # a template
        "not mapped yet",  # a field of a class of another module
        "frame out of order, taken",  # a table
        "Suspended consents: {n}",  # a part of a table's rows
        "not reachable",  # a member of an enumeration
        "Overview",
        "next try now",  # a function
        "The password is wrong.",
        "Say why.",
    } <= page_texts()
    assert "the password is wrong" not in page_texts()


def translations(language: str) -> dict[str, str]:
    """The texts of a catalogue as it is edited."""
    return {str(one.id): str(one.string) for one in generate_catalogues.read(language) if one.id and one.string}


def gaps(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("language", TRANSLATED)
def test_nothing_that_the_page_says_is_missing(language: str) -> None:
    missing = said() - set(translations(language))
    assert missing == set(), f"add these texts, translated, to {language}.po of their feature, else of engine/web"


@pytest.mark.parametrize("language", TRANSLATED)
def test_nothing_is_translated_that_is_never_said(language: str) -> None:
    meanings = {cells.meaning(reason) for reason in ReasonCode}
    unused = set(translations(language)) - said() - meanings
    assert unused == set(), f"take these texts out of {language}.po"


@pytest.mark.parametrize("language", TRANSLATED)
def test_no_text_is_translated_twice(language: str) -> None:
    catalogue = "\n".join(path.read_text(encoding="utf-8") for path in generate_catalogues.places(language))
    texts = re.findall(r'^msgid (.*(?:\n".*")*)', catalogue, re.MULTILINE)
    assert [text for text, times in Counter(texts).items() if times > 1 and text != '""'] == []  # the head of a file


@pytest.mark.parametrize("language", TRANSLATED)
def test_every_reason_is_explained_in_the_language(language: str) -> None:
    known = translations(language)
    missing = [one.name for one in ReasonCode if cells.meaning(one) not in known]
    assert missing == [], f"add their first sentences, translated, to {CATALOGUE.format(language)}"


@pytest.mark.parametrize("language", TRANSLATED)
def test_translations_keep_the_gaps_and_the_western_digits(language: str) -> None:
    for english, translated in translations(language).items():
        assert gaps(english) == gaps(translated), english
        assert not re.search(r"[\u0966-\u096f\u09e6-\u09ef\u0be6-\u0bef\u0c66-\u0c6f\u0ce6-\u0cef]", translated)


NAMES = {  # of the things that people of a laboratory speak of: the beginning of the one word for each
    "alert": {"hi": "अलर्ट", "mr": "अलर्ट", "bn": "অ্যালার্ট", "ta": "அலர்ட", "te": "అలర్ట", "kn": "ಅಲರ್ಟ"},
    "analyzer": {"hi": "एनालाइज़र", "mr": "ॲनालायझर", "bn": "অ্যানালাইজার", "ta": "அனலைசர", "te": "అనలైజర", "kn": "ಅನಲೈಜರ"},
    "consent": {"hi": "सहमति", "mr": "संमती", "bn": "সম্মতি", "ta": "சம்மத", "te": "సమ్మత", "kn": "ಒಪ್ಪಿಗೆ"},
    "destination": {"hi": "गंतव्य", "mr": "ठिकाण", "bn": "গন্তব্য", "ta": "சேருமிட", "te": "గమ్య", "kn": "ಡೆಸ್ಟಿನೇಶನ್"},
    "folder": {"hi": "फ़ोल्डर", "mr": "फोल्डर", "bn": "ফোল্ডার", "ta": "ஃபோல்டர", "te": "ఫోల్డర", "kn": "ಫೋಲ್ಡರ"},
    "message": {"hi": "संदेश", "mr": "मेसेज", "bn": "মেসেজ", "ta": "மெசேஜ", "te": "మెసేజ", "kn": "ಮೆಸೇಜ"},
    "patient": {"hi": "मरीज़", "mr": "पेशंट", "bn": "রোগী", "ta": "நோயாளி", "te": "పేషెంట", "kn": "ರೋಗಿ"},
    "result": {"hi": "परिणाम", "mr": "रिझल्ट", "bn": "রেজাল্ট", "ta": "ரிசல்ட", "te": "రిజల్ట", "kn": "ರಿಸಲ್ಟ"},
    "specimen": {"hi": "सैंपल", "mr": "सॅम्पल", "bn": "স্যাম্পল", "ta": "சாம்பிள", "te": "శాంపిల", "kn": "ಸ್ಯಾಂಪಲ"},
    "unit": {"hi": "इकाई", "mr": "युनिट", "bn": "একক", "ta": "யூனிட", "te": "యూనిట", "kn": "ಯೂನಿಟ"},
}
OF_CALLS = {
    "accepted, its result is to come",
    "The gateway took it, and its result never came.",
}  # no laboratory's result


@pytest.mark.parametrize("language", TRANSLATED)
def test_a_thing_has_one_name_in_each_language(language: str) -> None:
    """On a page that names it twice a person looks for two things. A gap, an option or a key is no name."""
    others = [
        (name, english, translated)
        for english, translated in translations(language).items()
        for name, said in NAMES.items()
        if re.search(rf"(?<![-{{_`]){name}s?(?![-}}_`\w])", english, re.IGNORECASE)
        if said[language] not in translated and not (name == "result" and english in OF_CALLS)
    ]
    assert others == [], f"say each thing by its one name in {CATALOGUE.format(language)}"


@pytest.mark.parametrize("language", TRANSLATED)
def test_short_labels_stay_short(language: str) -> None:
    """Labels stand in narrow columns: at most 1.6 times the English, where that is more than a few letters. A vowel
    sign is part of its letter."""
    for english, translated in translations(language).items():
        if len(english) < 40:
            letters = [one for one in translated if unicodedata.category(one) not in ("Mn", "Mc", "Cf")]
            assert len(letters) <= max(1.6 * len(english), len(english) + 8), english


def test_alerts_are_sent_in_each_language() -> None:
    assert get_args(AlertsConfig.model_fields["language"].annotation) == tuple(languages.LANGUAGES)


@pytest.mark.parametrize("reason", ReasonCode)
def test_every_reason_has_a_first_sentence_that_can_be_said(reason: ReasonCode) -> None:
    sentence = cells.meaning(reason)
    begins = f"engine/model/texts/reasons.py: begin the text of {reason.name} with a sentence that says what happened"
    assert Phrase(sentence).say() == sentence, f"{begins}, without braces"
    assert len(sentence) > 20, begins


@pytest.mark.parametrize(
    ("asked", "own", "accepts", "chosen"),
    [
        ("", "", "", "en"),
        ("hi", "", "en", "hi"),
        ("xx", "", "hi", "hi"),
        ("", "hi", "en", "hi"),
        ("en", "hi", "hi", "en"),
        ("", "xx", "hi", "hi"),
        ("", "", "hi-IN,hi;q=0.9,en-GB;q=0.8", "hi"),
        ("", "", "en-GB,en;q=0.9,hi;q=0.8", "en"),
        ("", "", "de, hi;q=0.2", "hi"),
        ("", "", "hi;q=0, en;q=0.5", "en"),
        ("", "", "hi;q=nonsense", "en"),
        ("", "", "HI", "hi"),
        ("", "", ";;,,q=", "en"),
    ],
)
def test_the_readers_wish_decides(asked: str, own: str, accepts: str, chosen: str) -> None:
    assert languages.choose(asked, own, accepts) == chosen


@pytest.mark.parametrize("language", TRANSLATED)
def test_the_pages_read_each_catalogue_as_it_is_edited(language: str) -> None:
    read = languages.catalogue(language)
    assert {text: read(text) for text in translations(language)} == translations(language)
    assert read("A text that is not there.") == "A text that is not there."


@pytest.mark.parametrize("language", TRANSLATED)
def test_no_translation_is_a_draft_or_faulty(language: str) -> None:
    edited = generate_catalogues.read(language)
    assert [message.id for message in edited if message.fuzzy and message.id] == []
    assert [(message.id, errors) for message, errors in edited.check()] == []


@pytest.mark.parametrize("module", [notices_of_a_site], ids=lambda module: module.__name__)
def test_a_notice_about_the_site_is_said_in_the_readers_language(module: ModuleType) -> None:
    """Of modules whose every text is a notice. One that is put together on the way (an f-string) has no translation."""
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    texts = [one.value for one in ast.walk(tree) if isinstance(one, ast.Yield)]
    texts += [one.elt for one in ast.walk(tree) if isinstance(one, ast.ListComp)]
    assert texts
    assert all(isinstance(one, ast.Call) and getattr(one.func, "id", "") == "Said" for one in texts)


def test_a_notice_keeps_its_phrase_on_the_way_to_the_page() -> None:
    (made,) = notices(About.BACKUP, [Said("The last backup failed: {why}", why="{disk}")])
    assert made == "The last backup failed: {disk}"
    site = replace(quiet_site(), alarms=(made,), notes=(Notice("plain {text}", About.CLOCK),))
    hindi = languages.catalogue("hi")
    assert site.overall().phrase.say(hindi) == "पिछला बैकअप विफल रहा: {disk}"
    words = {entry.key: entry.phrase.say(hindi) for entry in _notices(site)}
    assert words == {"backup": "पिछला बैकअप विफल रहा: {disk}", "clock": "plain {text}"}
