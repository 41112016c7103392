"""What warnings and dead letters say to set is on the to-do list, and leaves it once it is set."""

from pathlib import Path

import yaml

from engine.features.todo.service import TodoList
from tests.results.test_identity import Analyzer
from tests.results.test_tubes_and_namesakes import tube
from tests.support.running import RunningSite, astm_channel, running_site
from tests.support.waiting import until

PARTED = b"\r".join([*tube("S1", "1").split(b"\r")[:3], b"R|1|^^^MIC^7^AMP|1", b"R|2|^^^MIC^7^GEN|2", b"L|1|N", b""])


async def to_do(site: RunningSite) -> dict[str, str]:
    return {todo.entry.key: str(todo.entry.phrase) for todo in await site.app.service(TodoList).look()}


async def write(site: RunningSite, **settings: str) -> None:
    path = site.folder / "channels" / "astm.yaml"
    channel = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**channel, "settings": {**channel.get("settings", {}), **settings}}))
    assert (await site.labrelay("reload")).code == 0


async def test_a_setting_is_on_the_list_until_it_is_written(tmp_path: Path) -> None:
    async with running_site(tmp_path, {"astm": astm_channel()}) as site:
        analyzer, key = Analyzer(site, "astm", "astm"), "setting/astm/TUBE_PARTS"
        for place in ("^LAB-1^R01^3", "^LAB-2^R01^4"):
            await analyzer.put_on_the_line(tube(place, "5.2"))
        await site.settled()
        assert (await to_do(site))[key] == (
            "astm: Messages with the warning TUBE_PARTS: 2. "
            "Write under settings of the channel what is right: specimen: O-4.2"
        )
        await write(site, local_system="urn:made-up:codes")
        assert key in await to_do(site)  # not this one
        await write(site, specimen="O-4.2")
        assert key not in await to_do(site)


async def test_a_setting_that_settles_nothing_stays(tmp_path: Path) -> None:
    async with running_site(tmp_path, {"astm": astm_channel(settings={"r4": "call^value"})}) as site:
        await Analyzer(site, "astm", "astm").put_on_the_line(tube("S1", "1^2^3"))
        await site.settled()
        assert "r4: value^flag" in (await to_do(site))["setting/astm/VALUE_PARTS"]


async def test_a_dead_letter_says_what_to_write(tmp_path: Path) -> None:
    async with running_site(tmp_path, {"astm": astm_channel()}) as site:
        await Analyzer(site, "astm", "astm").put_on_the_line(PARTED)
        await site.settled()
        assert site.ends() == ["SAME_CODE"]
        await until(lambda: site.app.observer.snapshot().dead_total == 1)
        (words,) = [words for key, words in (await to_do(site)).items() if key.startswith("dead/SAME_CODE")]
        assert words.endswith("what is right: test_code: 4/6; beside_code: 6")
        await write(site, test_code="4/6")
        await site.retry(site.messages()[0].id)
        await site.settled()
        assert site.ends() == ["delivered"]
