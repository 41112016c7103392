"""Catalogues: complete, with the same gaps as the English sentence, and no longer than a cell can take."""

import ast
import re
import unicodedata
from collections import Counter
from dataclasses import replace
from pathlib import Path
from string import Formatter
from typing import get_args

import pytest

from engine.abdm import later, retrying
from engine.access import passwords
from engine.access.accounts import NO_PIN, PROVIDER
from engine.access.own_account import NO_SESSION
from engine.access.provider_words import TEXTS
from engine.access.proving import WRONG
from engine.access.set_up_link import GONE
from engine.actions import switch_effects
from engine.config import changes
from engine.config.alerts import AlertsConfig
from engine.config.oidc import OidcConfig
from engine.delivery.away import AWAY
from engine.mapping.differences import Kind
from engine.model.accounts import shown_name
from engine.model.consents import PURPOSES
from engine.model.errors import RefusedError
from engine.model.phrases import SPANS, Phrase, Said
from engine.model.reasons import ReasonCode
from engine.monitoring import todo as monitoring_todo
from engine.monitoring.alerting import machine, rules, wording
from engine.monitoring.snapshot.links import LinkState
from engine.monitoring.snapshot.notice import About, Notice, notices
from engine.monitoring.snapshot.states import ChannelState, DestinationState
from engine.monitoring.todo import _notices
from engine.receiving.link_words import FAULT_WORDS
from engine.runtime.correcting import OCCUPIED
from engine.runtime.verbs import abdm as verbs_of_abdm
from engine.runtime.verbs import orders as verbs_of_orders
from engine.store.core import missing_rows
from engine.store.operations.access import tokens
from engine.store.operations.access.users import KEPT_OUT, NO_ADMIN
from engine.store.recovery.backups import recovery_point
from engine.views.reports import BAD_PERIOD
from engine.views.shift import TOO_LONG
from engine.web import cells, languages, line_rows, menu, rows, todo_rows
from engine.web.access import account, administration, desk, log_in
from engine.web.guard import EXPIRED, MESSAGES, UNREADABLE
from engine.web.pages import (
    abdm,
    abdm_acts,
    abdm_consent,
    abdm_context,
    abdm_listed,
    abdm_words,
    acts,
    affected,
    alerts,
    correct,
    doing,
    filters,
    frame,
    message,
    messages,
    operations,
    order,
    order_acts,
    order_words,
    orders,
    reports,
    shift,
    states,
    switching,
    system,
    todo,
)
from tests.support.status_sites import quiet_site
from tools import generate_catalogues

ENGINE = Path(languages.__file__).parents[1]
CATALOGUE = "engine/web/locale/{}.po"
TRANSLATED = generate_catalogues.TRANSLATED


CHANGE_WORDS = ("STARTS", "ENDS", "AGAIN", "GOES_ON", "LATER", "REFUSED")


def said_in_code() -> set[str]:
    """Every English sentence that the page can say: in templates, in phrases, in the tables of words."""
    found = set()
    for template in (ENGINE / "web" / "templates").glob("*.html"):
        found |= {text for _, text in re.findall(r"""_\((["'])(.*?)\1\)""", template.read_text(encoding="utf-8"))}
    for path in (
        *(ENGINE / "monitoring" / "snapshot").glob("*.py"),
        ENGINE / "monitoring" / "line_steps.py",
        ENGINE / "runtime" / "link_view.py",
        ENGINE / "monitoring" / "todo.py",
        *(ENGINE / "web" / name for name in ("cells.py", "line_rows.py", "rows.py", "todo_rows.py")),
        *(ENGINE / "web" / "pages").glob("*.py"),
        *(ENGINE / "web" / "access").glob("*.py"),
        *(path for path in (ENGINE / "runtime").glob("*.py") if "phrases import" in path.read_text(encoding="utf-8")),
        ENGINE / "web" / "server.py",
        *(ENGINE / "abdm" / f"{name}.py" for name in ("preflight", "watch", "later", "retrying", "consents")),
    ):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and call.args:
                name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
                if name in {"Phrase", "Said", "_say", "say", "fact", "ago", "_by", "_found"}:
                    first = call.args[0]
                    either = (first.body, first.orelse) if isinstance(first, ast.IfExp) else (first,)
                    found |= {one.value for one in either if isinstance(one, ast.Constant)}
    found.add(f"backup: {recovery_point.SAME_DISK}")
    found |= {*AWAY, *SPANS, *MESSAGES.values(), UNREADABLE}
    found |= {state.words for state in (*ChannelState, *DestinationState, *LinkState)}
    found |= {*FAULT_WORDS.values(), *(set(line_rows.WHO.values()) - {"LabRelay"})}
    found |= {*rows.LEVEL_WORDS.values(), *(word for word, _ in rows.TODAY.values()), "Analyzers", "Destinations"}
    found |= {look.words for look in (*states.MESSAGE.values(), *states.DELIVERY.values(), *operations.STAGES.values())}
    found |= {*operations.FAULTS.values()}
    found |= {*doing.OUTCOMES.values(), doing.NOTHING, doing.GONE}
    found |= {*correct.LABELS.values(), *correct.HINTS.values(), correct.NOTHING, *get_args(Kind)}
    found |= {text for deed in doing.DEEDS.values() for text in (deed.what, deed.button)}
    found |= {text for order in (*switching.ORDERS.values(), switching.TRY) for text in order if text}
    for deeds in (order_acts.DEEDS, abdm_acts.DEEDS):
        found |= {text for deed in deeds.values() for text in (deed.what, deed.button, deed.then)}
    found |= {abdm_acts.CONFIRMED, abdm_acts.RIGHT, abdm_acts.READMIT, abdm_acts.LOOKED, *abdm_acts.GENDERS.values()}
    found |= {text for _, text, _ in monitoring_todo._UNDECIDED.values()} | {"{one}, {other}", *later.COMPARED}
    found |= {
        order_acts.MAY_HAVE,
        order_acts.FIRST_STEP,
        order_acts.SECOND_STEP,
        order_acts.COMPARE,
        order_acts.NO_ORDER,
        order.NO_TUBE,
    }
    found |= {look.words for look in order_words.STATES.values()} | {orders.WRONG_TAB}
    for table in (
        *(order_words.REASONS, order_words.PRIORITIES, order_words.EVENTS),
        *(order_words.NONE, order_words.OUTCOMES, order_words.KINDS),
    ):
        found |= set(table.values())
    looks = [
        *(*abdm_words.CONTEXTS.values(), *abdm_words.CONSENTS.values(), *abdm_words.TRANSFERS.values()),
        *(*abdm_words.PAGES.values(), *abdm_words.CALLS.values()),
        *(abdm_words.UNSURE, abdm_words.WELL, abdm_words.NOT_WELL),
    ]
    found |= {look.words for look in looks} | {
        *abdm_words.REASONS.values(),
        *abdm_words.HELP.values(),
        *abdm_words.STEPS.values(),
    }
    found |= {*abdm_words.UNITS.values(), *PURPOSES.values(), *(text for text, _, _ in abdm_words.TROUBLES.values())}
    found |= {*abdm.LISTS.values(), *abdm_listed.LABELS.values(), abdm_listed.WRONG_STATE}
    found |= {text for page in (abdm_context, abdm_consent) for text in (page.TITLE, page.BACK, page.GONE)}
    found |= {*orders.TAB_WORDS.values(), *(text for text in orders.ABOUT.values() if text)}
    found |= {column.label for column in orders.CHOICE.values()}
    found |= {text for _, text in monitoring_todo._ORDERS.values()}
    found |= {line_rows.BEFORE, *switching.KINDS.values(), desk.sentence(switch_effects.UNHEARD)}
    found |= {text for name, text in vars(switch_effects).items() if name.isupper() and isinstance(text, str)}
    found -= {switch_effects.UNHEARD}  # it is said as a sentence
    found |= {state.word for state in acts.STATES.values()} | {"Program", "Journal", "Copies"}
    found |= {*messages.LABELS.values(), *filters.LABELS.values(), *messages.SPANS.values()} - {"LOINC"}
    found |= {
        filters.WRONG_TIME,
        messages.WRONG_STATE,
        messages.WRONG_ADDRESS,
        TOO_LONG,
        shift.BEGINS,
        shift.BEGINS_BEFORE,
        BAD_PERIOD,
        reports.COUNTING,
        reports.DID_NOT_RUN,
        *reports.MONTHS,
        *reports.ROWS_BY.values(),
        *reports.STAGE_WORDS.values(),
        *reports.TITLES.values(),
        frame.TOO_SLOW,
        frame.LOCKED,
        frame.DAMAGED,
        *message.NEIGHBOURS,
        *affected.OUTCOMES.values(),
    }
    found |= {todo_rows.COMMAND, *(step.words for step in todo_rows.STEPS.values()), *todo.UNTIL.values(), todo.GONE}
    found |= {*system.KINDS.values(), *(text for name, text in vars(changes).items() if name in CHANGE_WORDS)}
    found |= {*(one.words for one in menu.DAILY), *(of.words for of in menu.OTHERS)}
    found |= {one.words for of in menu.OTHERS for one in of.entries}
    found |= {
        *wording._ONE.values(),
        wording.REPEATED,
        wording.TEST,
        wording.OVER,
        wording.BEGUN,
        machine.UNSTEADY,
        machine.OPEN,
    }
    found |= {*rules._SUMS.values(), *alerts.TIMES.values(), *alerts.WHAT.values()}
    found |= {look.words for look in (*alerts.STATES.values(), *alerts.ENDS.values())}
    found |= {missing_rows.NO_MESSAGE, missing_rows.LET_GO, affected.NO_CHANNEL, verbs_of_orders.WRONG_CHANNEL}
    found |= {tokens.TAKEN, desk.sentence(verbs_of_abdm.NO_ABDM)}
    found.add(OidcConfig.model_fields["title"].default)
    found |= {*account.DONE.values(), *administration.DONE.values(), *administration.SCOPES, *HOW}
    found |= {desk.sentence(text) for text in (*refusals(), log_in.NO_WALL, todo.FEW_WORDS)} | {EXPIRED}
    return found - {"{text}", "{what}"}


HOW = {"password", "second factor", "set-up link", PROVIDER}  # engine.access.accounts: how a person came in


def refusals() -> set[str]:
    """What a person may be refused, where no name is in it."""
    found = {WRONG, NO_PIN, GONE, NO_SESSION, *TEXTS, NO_ADMIN, KEPT_OUT}
    for check, given in (
        (passwords.raise_if_weak, ("short", "asha")),
        (passwords.raise_if_weak, ("password12345", "asha")),
        (passwords.raise_if_weak, ("asha-asha-asha", "asha")),
        (passwords.raise_if_no_pin, ("1",)),
        (passwords.raise_if_no_pin, ("111111",)),
        (shown_name, ("",)),
        (shown_name, ("a:b",)),
    ):
        with pytest.raises(RefusedError) as caught:
            check(*given)  # type: ignore[operator]
        found.add(str(caught.value))
    acts = [ENGINE / "abdm" / f"{name}.py" for name in ("later", "retrying", "consents")]
    found |= {*later.NEVER.values(), retrying.UNDER_WAY}
    for path in (*(ENGINE / "access").glob("*.py"), *(ENGINE / "web" / "access").glob("*.py"), *acts):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") in ("RefusedError", "LogInError"):
                found |= {one.value for one in call.args if isinstance(one, ast.Constant)}
    return found | {
        OCCUPIED,
        "the password is wrong",
        "many log in at this moment; try again in a few seconds",
    }


def translations(language: str) -> dict[str, str]:
    """The texts of a catalogue as it is edited."""
    return {str(one.id): str(one.string) for one in generate_catalogues.read(language) if one.id and one.string}


def gaps(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("language", TRANSLATED)
def test_nothing_that_the_page_says_is_missing(language: str) -> None:
    missing = said_in_code() - set(translations(language))
    assert missing == set(), f"add these texts, translated, to {CATALOGUE.format(language)}"


@pytest.mark.parametrize("language", TRANSLATED)
def test_nothing_is_translated_that_is_never_said(language: str) -> None:
    meanings = {cells.meaning(reason) for reason in ReasonCode}
    unused = set(translations(language)) - said_in_code() - meanings
    assert unused == set(), f"take these texts out of {CATALOGUE.format(language)}"


@pytest.mark.parametrize("language", TRANSLATED)
def test_no_text_is_translated_twice(language: str) -> None:
    catalogue = (ENGINE.parent / CATALOGUE.format(language)).read_text(encoding="utf-8")
    texts = re.findall(r'^msgid (.*(?:\n".*")*)', catalogue, re.MULTILINE)
    assert [text for text, times in Counter(texts).items() if times > 1] == []


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
    "analyzer": {"hi": "एनालाइज़र", "mr": "ॲनालायझर", "bn": "অ্যানালাইজার", "ta": "அனலைசர", "te": "అనలైజర", "kn": "ಅನಲೈಜರ"},
    "consent": {"hi": "सहमति", "mr": "संमती", "bn": "সম্মতি", "ta": "சம்மத", "te": "సమ్మత", "kn": "ಒಪ್ಪಿಗೆ"},
    "destination": {"hi": "गंतव्य", "mr": "ठिकाण", "bn": "গন্তব্য", "ta": "சேருமிட", "te": "గమ్య", "kn": "ಡೆಸ್ಟಿನೇಶನ್"},
    "message": {"hi": "संदेश", "mr": "मेसेज", "bn": "মেসেজ", "ta": "மெசேஜ", "te": "మెసేజ", "kn": "ಮೆಸೇಜ"},
    "patient": {"hi": "मरीज़", "mr": "पेशंट", "bn": "রোগী", "ta": "நோயாளி", "te": "పేషెంట", "kn": "ರೋಗಿ"},
    "result": {"hi": "परिणाम", "mr": "रिझल्ट", "bn": "রেজাল্ট", "ta": "ரிசல்ட", "te": "రిజల్ట", "kn": "ರಿಸಲ್ಟ"},
    "specimen": {"hi": "सैंपल", "mr": "सॅम्पल", "bn": "স্যাম্পল", "ta": "சாம்பிள", "te": "శాంపిల", "kn": "ಸ್ಯಾಂಪಲ"},
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
    begins = f"engine/model/reasons.py: begin the text of {reason.name} with a sentence that says what happened"
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


SAYING = ("notices.py", "not_taken.py")  # modules whose every text is a notice on the page


@pytest.mark.parametrize("module", SAYING)
def test_a_notice_about_the_site_is_said_in_the_readers_language(module: str) -> None:
    """A text that is put together on the way (an f-string) has no translation."""
    tree = ast.parse((ENGINE / "runtime" / module).read_text(encoding="utf-8"))
    said = [one.value for one in ast.walk(tree) if isinstance(one, ast.Yield)]
    said += [one.elt for one in ast.walk(tree) if isinstance(one, ast.ListComp)]
    assert said
    assert all(isinstance(one, ast.Call) and getattr(one.func, "id", "") == "Said" for one in said)


def test_a_notice_keeps_its_phrase_on_the_way_to_the_page() -> None:
    (made,) = notices(About.BACKUP, [Said("The last backup failed: {why}", why="{disk}")])
    assert made == "The last backup failed: {disk}"
    site = replace(quiet_site(), alarms=(made,), notes=(Notice("plain {text}", About.CLOCK),))
    hindi = languages.catalogue("hi")
    assert site.overall().phrase.say(hindi) == "पिछला बैकअप विफल रहा: {disk}"
    words = {entry.key: entry.phrase.say(hindi) for entry in _notices(site)}
    assert words == {"backup": "पिछला बैकअप विफल रहा: {disk}", "clock": "plain {text}"}
