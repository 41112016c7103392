"""People read times in the site's zone, scripts get them in UTC; a list that is cut says so, and how to go on."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import labrelay
from tests.support.filled_journal import REFUSED, UNMAPPED, fill_journal
from tests.support.sites import make_site

INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d")
SHOWN = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d)?(\S*)")
TIMED = (
    ("messages", "list"),
    ("messages", "show", str(REFUSED)),
    ("dlq", "list"),
    ("dlq", "list", "--each"),
    ("dlq", "show", str(REFUSED)),
    ("audit", "list"),
    ("key", "status"),
    ("journal", "stats"),
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site in Asia/Kolkata with a message in each state, and three acts."""
    made = make_site(tmp_path_factory.mktemp("site"))
    fill_journal(made / "var")
    for number in (REFUSED, UNMAPPED):
        assert labrelay("messages", "show", str(number), "--unmask", "--purpose", "a test", site=made).code == 0
    assert labrelay("dlq", "dismiss", str(UNMAPPED), "--reason", "seen", "--yes", site=made).code == 0
    return made


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from texts(inner)
    elif isinstance(value, str):
        yield value


@pytest.mark.parametrize("verb", TIMED, ids=" ".join)
def test_scripts_get_utc_and_people_the_zone_of_the_site(site: Path, verb: tuple[str, ...]) -> None:
    instants = [text for text in texts(labrelay(*verb, "-o", "json", site=site).json) if INSTANT.match(text)]
    assert instants
    assert [text for text in instants if not text.endswith("+00:00")] == []
    shown = SHOWN.findall(labrelay(*verb, site=site).out)
    assert set(shown) <= {"+0530"}
    assert shown or verb == ("key", "status")  # it has days only


@pytest.mark.parametrize(
    ("verb", "rows", "number"),
    [
        (("messages", "list"), "messages", "id"),
        (("audit", "list"), "acts", "id"),
        (("dlq", "list"), "dead_letters", "message"),
    ],
    ids=["messages", "acts", "dead letters"],
)
def test_a_list_that_is_cut_says_how_to_go_on(site: Path, verb: tuple[str, ...], rows: str, number: str) -> None:
    whole = [row[number] for row in labrelay(*verb, "-o", "json", site=site).json[rows]]
    assert len(whole) >= 2
    found: list[int] = []
    go_on: list[str] = []
    while True:
        page = labrelay(*verb, "--limit", "1", *go_on, "-o", "json", site=site)
        found += [row[number] for row in page.json[rows]]
        assert len(found) <= len(whole)
        if page.json["next"] is None:
            break
        assert (
            f"more follow: {page.json['next']}"
            in labrelay(*verb, "--limit", "1", *go_on, "-o", "ndjson", site=site).err
        )
        go_on = page.json["next"].split()
    assert found == whole
    assert "more follow" not in labrelay(*verb, "--limit", str(len(whole)), "-o", "ndjson", site=site).err
