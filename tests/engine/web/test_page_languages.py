"""Catalogues: complete, with the same gaps as the English sentence, and no longer than a cell can take."""

import ast
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from string import Formatter
from typing import get_args

import pytest

from engine.access import passwords
from engine.access.accounts import NO_PIN, PROVIDER
from engine.access.own_account import NO_SESSION
from engine.access.provider_words import TEXTS
from engine.access.proving import WRONG
from engine.access.saved_views import view_name
from engine.access.set_up_link import GONE
from engine.actions import switch_effects
from engine.config import changes
from engine.config.oidc import OidcConfig
from engine.mapping.differences import Kind
from engine.model.accounts import shown_name
from engine.model.errors import RefusedError
from engine.model.phrases import SPANS, Phrase, Said
from engine.model.reasons import ReasonCode
from engine.monitoring import todo as monitoring_todo
from engine.monitoring.snapshot.links import LinkState
from engine.monitoring.snapshot.notice import About, Notice, notices
from engine.monitoring.snapshot.states import ChannelState, DestinationState
from engine.monitoring.todo import _notices
from engine.receiving.link_words import FAULT_WORDS
from engine.runtime.correcting import OCCUPIED
from engine.store.operations.access import saved_views
from engine.store.operations.access.users import KEPT_OUT, NO_ADMIN
from engine.store.recovery.backups import recovery_point
from engine.views.shift import TOO_LONG
from engine.web import cells, languages, line_rows, menu, rows, todo_rows
from engine.web.access import account, administration, desk, log_in
from engine.web.guard import EXPIRED, MESSAGES, UNREADABLE
from engine.web.pages import (
    acts,
    affected,
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
    saved,
    shift,
    states,
    switching,
    system,
    todo,
)
from tests.support.status_sites import quiet_site

ENGINE = Path(languages.__file__).parents[1]
CATALOGUE = "engine/web/locale/{}.po"
TRANSLATED = sorted(set(languages.LANGUAGES) - {languages.DEFAULT})


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
    ):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and call.args:
                name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
                if name in {"Phrase", "Said", "_say", "say", "fact", "ago", "_by", "_found"}:
                    first = call.args[0]
                    either = (first.body, first.orelse) if isinstance(first, ast.IfExp) else (first,)
                    found |= {one.value for one in either if isinstance(one, ast.Constant)}
    found.add(f"backup: {recovery_point.SAME_DISK}")
    found |= {*SPANS, *MESSAGES.values(), UNREADABLE}
    found |= {state.words for state in (*ChannelState, *DestinationState, *LinkState)}
    found |= {*FAULT_WORDS.values(), *(set(line_rows.WHO.values()) - {"LabRelay"})}
    found |= {*rows.LEVEL_WORDS.values(), *(word for word, _ in rows.TODAY.values()), "Analyzers", "Destinations"}
    found |= {look.words for look in (*states.MESSAGE.values(), *states.DELIVERY.values(), *operations.STAGES.values())}
    found |= {*operations.FAULTS.values()}
    found |= {*doing.OUTCOMES.values(), doing.NOTHING, doing.GONE}
    found |= {*correct.LABELS.values(), *correct.HINTS.values(), correct.NOTHING, *get_args(Kind)}
    found |= {text for deed in doing.DEEDS.values() for text in (deed.what, deed.button)}
    found |= {text for order in (*switching.ORDERS.values(), switching.TRY) for text in order if text}
    found |= {text for deed in order_acts.DEEDS.values() for text in (deed.what, deed.button, deed.then)}
    found |= {
        order_acts.MAY_HAVE,
        order_acts.FIRST_STEP,
        order_acts.SECOND_STEP,
        order_acts.COMPARE,
        order.NO_ORDER,
        order.NO_TUBE,
    }
    found |= {look.words for look in order_words.STATES.values()} | {orders.WRONG_TAB}
    for table in (
        *(order_words.REASONS, order_words.PRIORITIES, order_words.EVENTS),
        *(order_words.NONE, order_words.OUTCOMES, order_words.KINDS),
    ):
        found |= set(table.values())
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
        frame.TOO_SLOW,
        frame.LOCKED,
        frame.DAMAGED,
        *message.NEIGHBOURS,
        *affected.OUTCOMES.values(),
    }
    found |= {todo_rows.COMMAND, *(step.words for step in todo_rows.STEPS.values()), *todo.UNTIL.values(), todo.GONE}
    found |= {*system.KINDS.values(), *(text for name, text in vars(changes).items() if name in CHANGE_WORDS)}
    found |= {one.words for one in (*menu.DAILY, *menu.OTHERS, *(page for of in menu.OTHERS for page in of.entries))}
    found.add(OidcConfig.model_fields["title"].default)
    found |= {*account.DONE.values(), *saved.DONE.values(), *administration.DONE.values(), *administration.SCOPES, *HOW}
    found |= {
        desk.sentence(text) for text in (*refusals(), log_in.NO_WALL, todo.FEW_WORDS, saved.NUMBER, saved.NO_LIST)
    } | {EXPIRED}
    return found - {"{text}"}


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
        (view_name, ("",)),
    ):
        with pytest.raises(RefusedError) as caught:
            check(*given)  # type: ignore[operator]
        found.add(str(caught.value))
    for path in (*(ENGINE / "access").glob("*.py"), *(ENGINE / "web" / "access").glob("*.py")):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") in ("RefusedError", "LogInError"):
                found |= {one.value for one in call.args if isinstance(one, ast.Constant)}
    return found | {
        saved_views.TAKEN,
        saved_views.TOO_MANY,
        saved_views.GONE,
        OCCUPIED,
        "the password is wrong",
        "many log in at this moment; try again in a few seconds",
    }


def gaps(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("language", TRANSLATED)
def test_nothing_that_the_page_says_is_missing(language: str) -> None:
    missing = said_in_code() - set(languages.catalogue(language))
    assert missing == set(), f"add these texts, translated, to {CATALOGUE.format(language)}"


@pytest.mark.parametrize("language", TRANSLATED)
def test_nothing_is_translated_that_is_never_said(language: str) -> None:
    meanings = {cells.meaning(reason) for reason in ReasonCode}
    unused = set(languages.catalogue(language)) - said_in_code() - meanings
    assert unused == set(), f"take these texts out of {CATALOGUE.format(language)}"


@pytest.mark.parametrize("language", TRANSLATED)
def test_no_text_is_translated_twice(language: str) -> None:
    catalogue = (ENGINE.parent / CATALOGUE.format(language)).read_text(encoding="utf-8")
    texts = re.findall(r'^msgid (.*(?:\n".*")*)', catalogue, re.MULTILINE)
    assert [text for text, times in Counter(texts).items() if times > 1] == []


@pytest.mark.parametrize("language", TRANSLATED)
def test_every_reason_is_explained_in_the_language(language: str) -> None:
    known = languages.catalogue(language)
    missing = [one.name for one in ReasonCode if cells.meaning(one) not in known]
    assert missing == [], f"add their first sentences, translated, to {CATALOGUE.format(language)}"


@pytest.mark.parametrize("language", TRANSLATED)
def test_translations_keep_the_gaps_and_the_western_digits(language: str) -> None:
    for english, translated in languages.catalogue(language).items():
        assert gaps(english) == gaps(translated), english
        assert not re.search(r"[\u0966-\u096f\u09e6-\u09ef\u0be6-\u0bef\u0c66-\u0c6f\u0ce6-\u0cef]", translated)


@pytest.mark.parametrize("language", TRANSLATED)
def test_short_labels_stay_short(language: str) -> None:
    """Labels stand in narrow columns: at most 1.6 times the English, where that is more than a few letters."""
    for english, translated in languages.catalogue(language).items():
        if len(english) < 40:
            assert len(translated) <= max(1.6 * len(english), len(english) + 8), english


@pytest.mark.parametrize("reason", ReasonCode)
def test_every_reason_has_a_first_sentence_that_can_be_said(reason: ReasonCode) -> None:
    sentence = cells.meaning(reason)
    begins = f"engine/model/reasons.py: begin the text of {reason.name} with a sentence that says what happened"
    assert Phrase(sentence).say() == sentence, f"{begins}, without braces"
    assert len(sentence) > 20, begins


@pytest.mark.parametrize(
    ("asked", "accepts", "chosen"),
    [
        ("", "", "en"),
        ("hi", "en", "hi"),
        ("xx", "hi", "hi"),
        ("", "hi-IN,hi;q=0.9,en-GB;q=0.8", "hi"),
        ("", "en-GB,en;q=0.9,hi;q=0.8", "en"),
        ("", "de, hi;q=0.2", "hi"),
        ("", "hi;q=0, en;q=0.5", "en"),
        ("", "hi;q=nonsense", "en"),
        ("", "HI", "hi"),
        ("", ";;,,q=", "en"),
    ],
)
def test_the_readers_wish_decides(asked: str, accepts: str, chosen: str) -> None:
    assert languages.choose(asked, accepts) == chosen


def test_po_files_are_read_as_gettext_reads_them() -> None:
    text = """
# a comment with "quotes"
msgid ""
msgstr "Language: xx\\n"

#: somewhere.py:3
msgid "one"
msgstr "eins"

msgid ""
"two "
"lines"
msgstr ""
"zwei "
"\\"Zeilen\\""

msgid "not yet"
msgstr ""
"""
    assert languages.read_po(text) == {"one": "eins", "two lines": 'zwei "Zeilen"'}


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
