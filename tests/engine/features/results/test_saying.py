"""The words of a hold rule in the reader's language: on the page, in the API, by the command."""

from pathlib import Path

import pytest

from engine.config.load import load_site
from engine.features.results.lists.saying import said
from engine.model.errors import ConfigError
from tests.engine.features.results.test_decision import critical, main, send
from tests.results.test_held_results import held_route
from tests.support.acting_pages import acting_site
from tests.support.running import MLLP, channel
from tests.support.sites import CHANNEL_YAML, make_site

HINDI, TAMIL = "हीमोग्लोबिन बहुत कम", "ஹீமோகுளோபின் மிகக் குறைவு"
SAYS = {"low": {"hi": HINDI, "ta": TAMIL}, "low (again)": {"hi": "फिर से कम"}}


@pytest.mark.parametrize(
    ("why", "in_hindi"),
    [
        ("low", HINDI),
        ("low (HGB; RBC)", f"{HINDI} (HGB; RBC)"),
        ("jump (HGB); low (HGB)", f"jump (HGB); {HINDI} (HGB)"),
        ("low: cannot be decided, value is not known (HGB)", f"{HINDI}: cannot be decided, value is not known (HGB)"),
        ("low (again) (HGB)", "फिर से कम (HGB)"),
        ("jump (low; HGB)", None),  # a result's name is not a rule's
        ("lower (HGB)", None),
        ("the patient is another one", None),
        ("", None),
    ],
)
def test_the_words_of_rules_are_in_the_language_and_all_else_stays(why: str, in_hindi: str | None) -> None:
    assert said(why, SAYS).get("hi") == in_hindi


def test_a_language_without_words_of_a_rule_has_those_of_its_reason() -> None:
    found = said("low (HGB); low (again) (RBC)", SAYS)
    assert found == {"hi": f"{HINDI} (HGB); फिर से कम (RBC)", "ta": f"{TAMIL} (HGB); low (again) (RBC)"}


@pytest.mark.parametrize(
    ("says", "wrong"), [("{hi: x, xx: y}", "says.xx"), ("{hi: ''}", "says.hi"), ("hindi", "says"), ("[hi]", "says")]
)
def test_only_languages_of_the_page_are_taken(tmp_path: Path, says: str, wrong: str) -> None:
    rule = f"    hold: [{{when: =value < 7, reason: low, says: {says}}}]\n"
    site = make_site(tmp_path, channels={"haematology.yaml": CHANNEL_YAML + rule})
    with pytest.raises(ConfigError) as caught:
        load_site(site)
    assert wrong in str(caught.value)


async def test_who_decides_reads_the_rule_in_their_language(tmp_path: Path) -> None:
    rule = {"when": "=code == 'HGB' and value < 7", "says": {"hi": HINDI, "ta": TAMIL}}  # its condition is the reason
    async with acting_site(tmp_path, {"lab": channel(MLLP, held_route((rule,)))}) as site:
        (number,) = await send(site, critical(1, "5.1"))
        async with site.browser("operator") as browser:
            for path in (f"/held/{number}", "/held"):
                for language, words in (("hi", HINDI), ("ta", TAMIL), ("bn", "code == 'HGB'")):
                    _, page = await browser.get(f"{path}?lang={language}")
                    assert words in main(page), (path, language)
            async with browser.client.get("/api/v1/held") as answer:
                (one,) = (await answer.json())["held"]
        ran = await site.site.labrelay("held", "list", "-o", "json")
        shown = await site.site.labrelay("held", "show", str(number))
    assert one["says"]["ta"].startswith(TAMIL)
    assert one["why"].startswith("code == 'HGB'")
    assert f"hi: {HINDI}" in shown.out
    (row,) = ran.json["held"]
    assert row["says"] == one["says"]
