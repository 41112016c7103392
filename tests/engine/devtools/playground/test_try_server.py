"""The page of `labrelay try` over HTTP: who may ask, what it answers, and that it stays alive whatever is tried."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from engine.commands.shared.trying import TrySettings
from engine.devtools.playground import server as served
from engine.devtools.playground.child import Child, python
from engine.devtools.playground.samples import Samples
from engine.devtools.playground.server import Start, TryServer
from engine.model.errors import ConfigError
from tests.engine.devtools.playground.test_trial import LIBRARY, MAPPING
from tests.support.mapping_texts import HL7

STATIC = Path(served.__file__).parent / "static"
TEMPLATE = Path(served.__file__).parent / "templates" / "try.html"


class Page:
    """A running page and a browser's way to ask it."""

    def __init__(self, server: TryServer, child: Child, http: aiohttp.ClientSession, folder: Path) -> None:
        self.server, self.child, self.http, self.folder = server, child, http, folder
        self.url = server.address
        self.origin = "{0.scheme}://{0.netloc}".format(urlsplit(self.url))

    async def get(self, path: str, **headers: str) -> tuple[int, Any]:
        async with self.http.get(self.url + path, headers=headers) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if answer.content_type == "application/json" else text

    async def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any]:
        given = {"Origin": self.origin, "Content-Type": "application/json"} | headers
        async with self.http.post(self.url + path, data=BytesIO(json.dumps(body).encode()), headers=given) as answer:
            return answer.status, json.loads(await answer.text())

    async def run(self, **more: Any) -> dict[str, Any]:
        body = {"page": "p", "number": 1, "mapping": "small.yaml", "texts": {}, "message": HL7, "charset": "utf-8"}
        status, made = await self.post("run.json", body | more)
        assert status == 200, made
        return dict(made)


@asynccontextmanager
async def running(tmp_path: Path, *, patience_s: float = 60.0) -> AsyncIterator[Page]:
    folder, scratch, samples = (tmp_path / name for name in ("own", "scratch", "messages"))
    for made in (folder, scratch, samples / "xn"):
        made.mkdir(parents=True)
    (folder / "small.yaml").write_text(MAPPING, encoding="utf-8")
    (folder / "lib.yaml").write_text(LIBRARY, encoding="utf-8")
    (samples / "xn" / "two.hl7").write_text(HL7 + HL7.replace("14.8", "9.1"), encoding="utf-8")
    (samples / "xn" / "two.json").write_text("{}", encoding="utf-8")
    setting = TrySettings(beside=str(folder))
    child = Child(python("engine.commands.shared.trying"), patience_s=patience_s)
    start = Start("small.yaml", "", asdict(setting), HL7.encode())
    server = TryServer(("127.0.0.1", 0), child, setting.folders(), Samples((samples,)), start, scratch)
    await server.start()
    try:
        async with aiohttp.ClientSession() as http:
            yield Page(server, child, http, folder)
    finally:
        await server.stop()
    assert list(scratch.iterdir()) == [] or child.pid is None


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    async with running(tmp_path) as page:
        yield page


# -- who may ask -------------------------------------------------------------------------------------------------------


async def test_the_address_has_a_token_that_nobody_guesses(page: Page) -> None:
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{32}/", page.url)
    status, text = await page.get("")
    assert status == 200
    assert "labrelay try" in text
    for path in ("/", "/start.json", f"/{'x' * 32}/start.json", f"/{page.url.split('/')[3][:-1]}/", "/static/try.js"):
        async with page.http.get(page.origin + path) as answer:
            assert answer.status == 404
            assert "Doe" not in await answer.text()


async def test_other_names_and_other_pages_are_refused(page: Page) -> None:
    status, _ = await page.get("start.json", Host="evil.example")
    assert status == 421
    body = {"name": "lib.yaml", "text": "x", "digest": ""}
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": page.origin.replace("127.0.0.1", "localhost")},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        status, _ = await page.post("save.json", body, **headers)
        assert status == 403, headers
    assert (page.folder / "lib.yaml").read_text(encoding="utf-8") == LIBRARY


async def test_every_answer_carries_the_wall(page: Page) -> None:
    for path in ("", "start.json", "no-such-thing"):
        async with page.http.get(page.url + path) as answer:
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["Referrer-Policy"] == "same-origin"
            assert answer.headers["Cache-Control"] == "no-store"
            assert "Access-Control-Allow-Origin" not in answer.headers


def test_it_listens_on_this_machine_only(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"0\.0\.0\.0"):
        TryServer(("0.0.0.0", 0), Child(()), TrySettings().folders(), Samples(()), Start(), tmp_path)


# -- what it answers ---------------------------------------------------------------------------------------------------


async def test_it_begins_with_what_the_command_line_said(page: Page) -> None:
    _, start = await page.get("start.json")
    assert start["mapping"] == "small.yaml"
    assert start["mappings"][0] == "small.yaml"
    assert "hl7-results" in start["mappings"]
    assert "hl7-lab" not in start["mappings"], "a library is no mapping"
    assert start["messages"] == [{"text": HL7, "charset": "utf-8"}]
    assert start["samples"] == [["0/xn/two.hl7", "xn/two.hl7"]]
    _, files = await page.get("files.json?mapping=small.yaml")
    assert [file["name"] for file in files["files"]] == ["small.yaml", "lib.yaml"]


async def test_a_sample_is_read_when_it_is_chosen(page: Page) -> None:
    _, sample = await page.get("sample.json?name=0/xn/two.hl7")
    assert ["9.1" in one["text"] for one in sample["messages"]] == [False, True]
    for name in ("0/xn/two.json", "0/../own/lib.yaml", "1/x", "0//etc/passwd", "x"):
        status, _ = await page.get(f"sample.json?name={name}")
        assert status == 404, name


async def test_a_trial_is_made_with_what_stands_on_the_page(page: Page) -> None:
    made = await page.run(texts={"lib.yaml": LIBRARY.replace("family: =x", "family: =x, use: official")})
    assert made["number"] == 1
    assert '"use": "official",' in [text for _, text, _ in made["lines"]]
    family = next(leaf for leaf in made["leaves"] if leaf["path"] == "Patient[1].name[0].family")
    assert (family["rule"], family["sources"]) == ("lib.yaml:3", ["PID[1]-5.1"])
    broken = await page.run(number=2, texts={"lib.yaml": LIBRARY.replace("family", "famly")})
    assert [(problem["file"], problem["line"]) for problem in broken["problems"]] == [("lib.yaml", 3)]


async def test_shipped_mappings_are_there_without_a_site(page: Page) -> None:
    made = await page.run(mapping="")
    assert made["mapping"]["name"] == "hl7-results"
    _, files = await page.get("files.json?name=hl7-lab.yaml")
    assert files["files"][0]["shipped"] is True


async def test_a_file_is_saved_when_the_page_says_so_and_never_over_another_edit(page: Page) -> None:
    _, files = await page.get("files.json?name=lib.yaml")
    digest = files["files"][0]["digest"]
    await page.run(texts={"lib.yaml": LIBRARY + "# tried\n"})
    assert (page.folder / "lib.yaml").read_text(encoding="utf-8") == LIBRARY
    status, saved = await page.post("save.json", {"name": "lib.yaml", "text": LIBRARY + "# ours\n", "digest": digest})
    assert status == 200
    assert (page.folder / "lib.yaml").read_text(encoding="utf-8") == LIBRARY + "# ours\n"
    status, said = await page.post("save.json", {"name": "lib.yaml", "text": "x", "digest": digest})
    assert status == 409
    assert "changed elsewhere" in said["error"]
    digest = saved["file"]["digest"]
    status, _ = await page.post("save.json", {"name": "lib.yaml", "text": LIBRARY, "digest": digest})
    assert status == 200


def test_a_shipped_file_that_is_saved_is_the_sites_own_from_then_on(tmp_path: Path) -> None:
    """Also in a site that had no mappings yet."""
    folders = TrySettings(site=str(tmp_path)).folders()
    shipped = folders.open("lab.yaml")
    assert shipped is not None
    assert shipped.shipped
    saved = folders.save("lab.yaml", shipped.text + "# ours\n", shipped.digest)
    assert (saved.shipped, saved.target) == (False, str(tmp_path / "mappings" / "lab.yaml"))
    assert folders.save("lab.yaml", shipped.text, saved.digest).text == shipped.text
    made = TrySettings(site=str(tmp_path)).folders().open("lab.yaml")
    assert made is not None
    assert not made.shipped


@pytest.mark.parametrize("body", [[], {}, {"page": 1}, "x", {"page": "p", "number": "1"}])
async def test_a_request_that_is_none_is_refused(page: Page, body: Any) -> None:
    status, said = await page.post("run.json", body)
    assert status == 400
    assert "error" in said


async def test_what_is_too_large_is_refused(page: Page) -> None:
    body = {"page": "p", "number": 1, "mapping": "", "texts": {}, "message": "x" * 1_048_577}
    assert (await page.post("run.json", body))[0] == 413
    body = {"page": "p", "number": 1, "mapping": "", "texts": {"a.yaml": "x" * 6_300_000}, "message": ""}
    assert (await page.post("run.json", body))[0] == 413


# -- staying alive -----------------------------------------------------------------------------------------------------


async def test_a_trial_that_takes_too_long_is_ended_and_the_page_goes_on(tmp_path: Path) -> None:
    async with running(tmp_path, patience_s=0.0) as page:
        made = await page.run()
        assert "longer than" in made["trouble"]
        assert page.child.pid is None
        assert (await page.get("files.json?name=lib.yaml"))[0] == 200


async def test_a_process_that_dies_is_replaced(page: Page) -> None:
    await page.run()
    first = page.child.pid
    assert first is not None
    await page.child.close()
    made = await page.run(number=2)
    assert made["counts"]["observations"] == 2
    assert page.child.pid not in (None, first)


async def test_a_trial_that_was_overtaken_while_it_waited_is_not_run(page: Page) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(page.run(number=number)) for number in range(1, 8)]
    made = [task.result() for task in tasks]
    assert made[-1]["counts"]["observations"] == 2
    assert sum("overtaken" in one for one in made) >= 4


# -- the page itself ---------------------------------------------------------------------------------------------------


def test_the_page_has_no_script_style_or_address_of_its_own() -> None:
    html = TEMPLATE.read_text(encoding="utf-8")
    assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=", html)
    assert "//" not in html
    for control in re.findall(r'<(?:select|input|textarea|button)[^>]*\bid="([^"]+)"', html):
        own = rf'id="{control}"[^>]*aria-labelledby|<button[^>]*id="{control}"[^>]*>\w'
        inside = rf'<label[^>]*>(?:(?!</label>).)*id="{control}"'
        assert re.search(f"{inside}|{own}", html, re.DOTALL), control
    for name in re.findall(r'aria-(?:labelledby|describedby)="([^"]+)"', html):
        assert f'id="{name}"' in html


def test_what_stands_in_a_message_never_becomes_markup_or_code() -> None:
    script = (STATIC / "try.js").read_text(encoding="utf-8")
    for dangerous in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "http:"):
        assert dangerous not in script
    assert "Storage" not in script, "what is pasted is kept nowhere"


def test_colours_are_those_of_the_status_page() -> None:
    css = (STATIC / "try.css").read_text(encoding="utf-8")
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b|rgb|hsl", css) == []
    assert not re.search(r"\b(animation|transition)\b|@import|//", css)
    assert set(re.findall(r"var\(--([a-z-]+)\)", css)) <= {
        "ground", "surface", "text", "soft", "rule", "link", "ok", "ok-ground", "attention", "attention-ground",
        "problem", "problem-ground",
    }  # fmt: skip
