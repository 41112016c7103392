"""A technician reads words: no headline is a key of the YAML, a code or a command; each state has a word of its own."""

import re
from collections import defaultdict
from dataclasses import replace

import pytest

from engine.features.abdm import todo as abdm
from engine.features.alerts import pages as alerts
from engine.features.alerts import todo as alerts_todo
from engine.features.alerts.rules import causes, wording
from engine.features.codes import todo as codes_todo
from engine.features.todo import rules as todo
from engine.model.texts.reasons import ReasonCode
from engine.monitoring.snapshot.site import About, Notice
from engine.monitoring.snapshot.states import ChannelState, DestinationState
from engine.monitoring.todo import Together
from engine.store.operations.dead_letters import Group
from engine.web import languages
from engine.web.cells import meaning
from engine.web.pages import states
from tests.support.page_texts import page_texts
from tests.support.status_sites import quiet_site
from tests.support.todo_entries import entries
from tools.generate_catalogues import TRANSLATED

TECHNICAL = re.compile(
    r"`|\blabrelay [a-z]"  # code, a command
    r"|\b[A-Z]{2,}_[A-Z_]+\b|\b[a-z]+_[a-z_]+\b"  # a code, a key
    r"|\b(hold|on_missing|conflicts|tls|routes):"
)
# Below a headline: on an engineer's page, or how to go on at the computer. They may only become fewer.
HINTS = frozenset(
    {
        "A part of it is damaged. `labrelay verify` says which rows. A backup may have it whole, or the analyzer can"
        " send it again.",
        "A reload would be refused. These places are wrong; `labrelay check` says why:",
        "It is too large to be explained here; `labrelay explain {n}` does it.",
        "Its row of the audit trail. `labrelay verify` names it.",
        "No channels are configured. A channel is a YAML file in the folder channels; `labrelay help keys` describes"
        " it.",
        "Save it in the folder mappings/tests of the site; `labrelay test` runs it.",
        "The help cannot be shown now. The command `labrelay help` shows it.",
        "The identity provider does not say when you proved who you are (auth_time); ask the person who administers"
        " LabRelay to look at single_sign_on of access: oidc.",
        "The suggestions of this analyzer's pack cannot be read; `labrelay check` says why.",
        "This link has been used, or is older than 15 minutes; start LabRelay again, or give labrelay user add.",
        "What runs is older than these files. See what `labrelay check` says of them, then give `labrelay reload`."
        " Until then no code is corrected on the page.",
        "correct client_id, client_secret or environment",
        "damaged: `labrelay verify` names it",
        "end the other system that uses this client_id, then: {command}",
        "labrelay abdm preflight",
        "labrelay abdm preflight --set-url",
        "look whether another system of this client_id takes them ({command}), and at the relay and the firewall",
    }
)
# Words of one meaning; all others of `STATES` are different states.
SAME = ({"waiting", "waits"}, {"dead", "dead letter"})
LOOKS = (*states.MESSAGE.values(), *states.DELIVERY.values(), *alerts.STATES.values(), *alerts.ENDS.values())
STATES = frozenset(
    {look.words for look in LOOKS}
    | {one.words for kind in (ChannelState, DestinationState) for one in kind}
    | {"dead", "failed", "held back", "paused", "refused", "released"}
)


def plain(text: str) -> str:
    """Without its gaps: a name that fills one is the site's."""
    return re.sub(r"\{\w+\}", "", text)


def test_each_text_of_the_page_is_words_but_for_hints() -> None:
    found = {text for text in page_texts() if TECHNICAL.search(plain(text))}
    assert found - HINTS == set(), "say it in words; the command is the entry's step, the key is in the help"
    assert HINTS - found == set(), "take these out of the list"


@pytest.mark.parametrize("language", TRANSLATED)
def test_no_translation_brings_a_key_or_a_command(language: str) -> None:
    say = languages.catalogue(language)
    texts = {*page_texts(), *map(meaning, ReasonCode)} - HINTS
    assert [text for text in texts if TECHNICAL.search(plain(say(text)))] == []


@pytest.mark.parametrize("reason", ReasonCode, ids=lambda one: one.name)
def test_why_a_result_is_held_or_dead_is_said_in_words(reason: ReasonCode) -> None:
    assert not TECHNICAL.search(meaning(reason))


def _together() -> list[Together]:
    """Of entries of several analyzers that are one on the page."""
    values = [value for module in (todo, alerts_todo, codes_todo) for value in vars(module).values()]
    return [*(one for one in values if isinstance(one, Together)), *(one for *_, one in todo._STATES.values() if one)]


def headlines() -> list[str]:
    """Of to-do entries and alerts, besides those of the page's texts: what tables put together."""
    tables = (_together(), causes._SUMS.values(), wording._STEPS.values())
    found = [one if isinstance(one, str) else str(one[0]) for table in tables for one in table]
    return [*found, *abdm._UNDECIDED.values()]


def test_headlines_of_the_to_do_list_and_of_alerts_are_words_in_each_language() -> None:
    assert len(headlines()) > 30
    for text in headlines():
        for language in languages.LANGUAGES:
            assert not TECHNICAL.search(plain(languages.catalogue(language)(text))), text


def test_dead_letters_are_named_by_their_analyzer_and_not_by_their_code() -> None:
    letters = [Group(one.value, "", count=1, channels={"chemistry"}) for one in ReasonCode]
    found = entries(quiet_site(), letters)
    assert len(found) > 40
    assert {one.phrase.say() for one in found} == {"chemistry: Dead letters: 1"}


def test_a_notice_becomes_a_headline_as_it_is_and_its_command_a_step() -> None:
    """The reason that the texts of notices keep to the same."""
    site = replace(quiet_site(), alarms=(Notice("words", About.DELIVERIES),))
    (made,) = [one for one in entries(site) if one.key == About.DELIVERIES]
    assert (made.phrase.say(), made.step) == ("words", "labrelay resume deliveries --reason TEXT")


@pytest.mark.parametrize("language", TRANSLATED)
def test_each_state_has_a_word_of_its_own(language: str) -> None:
    say = languages.catalogue(language)
    found = defaultdict(set)
    for state in STATES:
        found[say(state)].add(state)
    assert [words for words in found.values() if len(words) > 1 and words not in SAME] == []
