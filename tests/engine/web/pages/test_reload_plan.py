"""The plan of a reload on the system page: names of what starts, ends or goes on, as the reload then does; no value."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from tests.support.access import Browser
from tests.support.acting_pages import ActingSite, acting_site
from tests.support.running import hl7_channel

SECRET = "PasswordInClear77"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[ActingSite]:
    async with acting_site(tmp_path, {name: hl7_channel() for name in ("stays", "routed", "moved", "gone")}) as made:
        yield made


def add(here: ActingSite, channel: str, line: str) -> None:
    path = here.site.folder / "channels" / f"{channel}.yaml"
    path.write_text(f"{path.read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")


async def plan(here: ActingSite, person: str) -> str:
    async with here.browser(person) as browser:
        return await shown(browser)


async def shown(browser: Browser) -> str:
    _, page = await browser.get("/system?lang=en")
    found = page.one("main").all("section", **{"aria-labelledby": "files"})
    return found[0].text if found else ""


async def test_the_plan_says_what_the_reload_then_does(here: ActingSite) -> None:
    assert await plan(here, "engineer") == ""
    add(here, "moved", "ack_timeout: 7s")
    add(here, "routed", "description: The one in the corner")
    (here.site.folder / "channels" / "gone.yaml").unlink()
    text = await plan(here, "engineer")
    for words in ("channels/moved.yaml", "Analyzer moved: it starts anew", "Analyzer gone: it ends"):
        assert words in text
    assert "Analyzer routed: it goes on, with its new settings" in text
    assert "stays" not in text
    sources = here.site.app.parts.sources
    before = dict(sources)
    await here.site.app.reload()
    assert {name for name, source in sources.items() if before[name] is source} == {"stays", "routed"}
    assert sources.keys() == {"stays", "routed", "moved"}
    assert await plan(here, "engineer") == ""


async def test_the_command_says_what_the_page_says_and_reloads_nothing(here: ActingSite) -> None:
    add(here, "moved", "ack_timeout: 7s")
    (here.site.folder / "channels" / "gone.yaml").unlink()
    before, sources = here.site.app.parts.built, dict(here.site.app.parts.sources)
    dry = await here.site.labrelay("reload", "--dry-run")
    assert dry.code == ExitCode.OK
    said = [line.split(maxsplit=1)[1] for line in dry.out.splitlines() if line.startswith("channel ")]
    assert said == ["gone: it ends", "moved: it starts anew"]
    assert "is not in force yet" in dry.out
    text = await plan(here, "engineer")
    assert all(f"Analyzer {line}" in text for line in said)
    assert here.site.app.parts.built is before
    assert here.site.app.parts.sources == sources
    taken = json.loads((await here.site.labrelay("reload", "-o", "json")).out)
    assert taken["dry_run"] is False
    assert [f"{one['name']}: {one['then']}" for one in taken["changes"]] == said
    assert here.site.app.parts.sources.keys() == {"stays", "routed", "moved"}


async def test_a_key_that_needs_a_new_start_is_refused_in_the_plan_too(here: ActingSite) -> None:
    """The command asks the daemon at its data folder, and finds none at another one."""
    path = here.site.folder / "config" / "labrelay.yaml"
    path.write_text(path.read_text(encoding="utf-8") + "data: elsewhere\n", encoding="utf-8")
    assert "Setting data: a reload is refused" in await plan(here, "engineer")
    assert (await here.site.labrelay("reload")).code == ExitCode.UNREACHABLE


async def test_an_analyzer_that_is_switched_off_ends_and_starts_again(here: ActingSite) -> None:
    add(here, "moved", "enabled: false")
    assert "Analyzer moved: it ends" in await plan(here, "engineer")
    await here.site.app.reload()
    assert here.site.app.parts.sources["moved"].idle
    add(here, "moved", "ack_timeout: 7s")
    text = await plan(here, "engineer")
    assert ("Analyzer moved" in text, "No analyzer and no destination stops." in text) == (False, True)
    path = here.site.folder / "channels" / "moved.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("enabled: false", "enabled: true"), encoding="utf-8")
    assert "Analyzer moved: it starts" in await plan(here, "engineer")


async def test_who_may_not_reload_sees_the_files_alone(here: ActingSite) -> None:
    (here.site.folder / "channels" / "gone.yaml").unlink()
    text = await plan(here, "viewer")
    assert "channels/gone.yaml" in text
    assert "Analyzer gone" not in text


async def test_what_is_wrong_is_named_by_its_place_without_a_value(here: ActingSite) -> None:
    add(here, "gone", f"ack_timeout: {SECRET}")
    text = await plan(here, "engineer")
    assert "A reload would be refused" in text
    assert "channels/gone.yaml:" in text
    assert "ack_timeout" in text
    assert SECRET not in text


async def test_mappings_alone_stop_nothing(here: ActingSite) -> None:
    folder = here.site.folder / "mappings" / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "own.csv").write_text("code,loinc\n", encoding="utf-8")
    text = await plan(here, "engineer")
    assert "mappings/tables/own.csv" in text
    assert "No analyzer and no destination stops." in text
