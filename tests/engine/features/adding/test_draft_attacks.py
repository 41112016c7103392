"""What hostile names, broken disks, hand-edited files and other people may do to a draft."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from engine.model.journal.journal_views import Filter
from engine.model.texts.reasons import ReasonCode
from engine.store.queries.messages import messages_page
from tests.engine.features.adding.test_engineers_day import (
    ROWS,
    XN,
    Laboratory,
    laboratory,
    listen,
    over_tcp,
    recognise,
    said,
    send_text,
    value,
)
from tests.support.access import Browser
from tests.support.astm_peer import one_record_a_frame, session
from tests.support.ports import quiet_ports
from tests.support.senders import AstmAnalyzer
from tests.support.waiting import until

TIMES = {"column-time": "When", "time": "%Y-%m-%d %H:%M:%S"}


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Laboratory]:
    async with laboratory(tmp_path / "site") as made:
        yield made


def files(lab: Laboratory) -> dict[str, str]:
    """The texts of the site's channels, layouts and tables."""
    folders = [lab.folder / name for name in ("channels", "layouts", "mappings")]
    found = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(lab.folder)): path.read_text() for path in found}


async def test_a_name_is_no_path_and_no_yaml(lab: Laboratory) -> None:
    async with lab.browser() as browser:
        hostile = (
            "../../etc/passwd",
            "a\0b",
            "x\ndraft: false",
            '"}, routes: [{to: city-his}]',
            "!!python/object:os.system {a}",
            "${HOME} {{ 7 * 7 }} <script>alert(1)</script>",
            "b\u2028draft: false",
            "चौथा",
            "x" * 200,
        )
        for called in hostile:
            before = files(lab)
            status, page = await listen(browser, called, port=str(quiet_ports(1)[0]))
            made = {name for name in files(lab) if name not in before}
            assert len(made) == (status == 200), (called, said(page))
            assert all(name.startswith("channels/") and name.count("/") == 1 for name in made)
            for name in made:
                text = yaml.safe_load((lab.folder / name).read_text())
                assert set(text) == {"channel", "description", "draft", "source", "routes"}
                assert text["draft"] is True
                assert lab.app.parts.built.site.channels[text["channel"]].draft
            assert not [one for one in page.all("script") if "src" not in one.attributes], called


async def test_a_draft_never_takes_the_place_of_a_shipped_table_or_layout(lab: Laboratory) -> None:
    async with lab.browser() as browser:
        for called in ("Analytes", "LOINC", "ucum", "Arkray Spotchem EL"):
            status, page = await listen(browser, called, port=str(quiet_ports(1)[0]))
            assert (status, "another name" in said(page)) == (403, True), called
        assert files(lab) == {}


async def test_a_code_that_would_match_anything_gets_no_meaning(lab: Laboratory) -> None:
    async with lab.browser() as browser:
        name, _ = await over_tcp(lab, browser)
        await send_text(lab, name, ROWS.replace(b"HGB", b"*"))
        await recognise(browser, name, **TIMES)
        path = f"/add/{name}/code?lang=en&code=*&unit=g/dL"
        status, page = await browser.send(path, "own", loinc="718-7", display="", meant="yes", to=f"/add/{name}/code")
        assert (status, "would match anything" in said(page)) == (403, True), said(page)
        assert "718-7" not in files(lab)[f"mappings/tables/{name}.csv"]


async def test_a_disk_that_fails_leaves_every_file_as_it_was(lab: Laboratory) -> None:
    async with lab.browser() as browser:
        name, _ = await over_tcp(lab, browser)
        await send_text(lab, name, ROWS)
        before = files(lab)
        # Where the new channel file would be written first: the layout and the table are written before it.
        obstacle = lab.folder / "channels" / f".{name}.yaml.{os.getpid()}.part"
        obstacle.mkdir()
        status, page = await recognise(browser, name, **TIMES)
        assert (status, "may not write into" in said(page)) == (403, True), said(page)
        assert files(lab) == before
        obstacle.rmdir()
        status, page = await recognise(browser, name, **TIMES)
        assert status == 200, said(page)
        status, page = await browser.send(f"/add/{name}/listen?lang=en", "remove")
        assert (status, browser.path.partition("?")[0]) == (200, "/add"), said(page)
        assert files(lab) == {}
        assert name not in lab.app.parts.built.site.channels
        assert len(lab.texts(name)) == 1  # what came stays
        assert "draft-remove" in lab.acts()


async def test_a_pack_that_cannot_be_read_is_named(lab: Laboratory) -> None:
    async with lab.browser() as browser:
        name, _ = await over_tcp(lab, browser)
        await send_text(lab, name, ROWS)
        broken = lab.folder / "analyzers" / "acme" / "pack.yaml"
        broken.parent.mkdir(parents=True)
        broken.write_text("recognise: 7\n")
        _, page = await browser.get(f"/add/{name}/recognise?lang=en")
        assert "analyzers/acme/pack.yaml:1:12: recognise: expected a list" in said(page), said(page)


async def test_a_listener_is_not_opened_further_than_a_person_said(lab: Laboratory) -> None:
    async with lab.browser() as browser:
        _, page = await browser.get("/add/new?lang=en")
        (address,) = [one for one in page.one("main").all("select") if one.attributes["name"] == "address"]
        offered = [one.attributes["value"] for one in address.all("option")]
        assert offered[-1] == "0.0.0.0"  # a choice, and not the first one
        assert "127.0.0.1" in offered[:-1]
        name, _ = await over_tcp(lab, browser)
        # Looked at, and sent as it is: it listens where it did.
        _, page = await browser.get(f"/add/{name}/listen?lang=en")
        chosen = {one.attributes["name"]: value(one) for one in page.one("main").all("select")}
        assert chosen["address"] == "127.0.0.1"
        for typed in ({"address": ""}, {"address": "192.0.2.1\n0.0.0.0"}, {"how": "connect", "host": ""}):
            status, page = await listen(browser, "Chemistry", port=str(quiet_ports(1)[0]), **typed)
            assert status == 403, typed
        for device in ("", "/dev/a b", "/dev/tty\0", '/dev/"tty', "/dev/tty\nallow: x"):
            status, page = await listen(browser, "Chemistry", how="device", device=device)
            assert (status, "is one word" in said(page)) == (403, True), device
        assert list(files(lab)) == [f"channels/{name}.yaml"]


async def test_a_draft_key_that_was_written_by_hand_is_no_start(lab: Laboratory) -> None:
    async with lab.browser() as browser:
        name, port = await over_tcp(lab, browser)
        await AstmAnalyzer(port).play(session(*one_record_a_frame(XN)))
        await lab.came(name, 1)
        await recognise(browser, name, analyzer="sysmex-xn")
        path = lab.folder / "channels" / f"{name}.yaml"
        path.write_text(path.read_text().replace("\ndraft: true", '\n"draft" : true'))
        await lab.app.reload()
        status, page = await browser.send(f"/add/{name}/first?lang=en", "start", compared="yes")
        assert (status, "out by hand" in said(page)) == (403, True), said(page)
        assert "draft-start" not in lab.acts()


async def test_noise_before_does_not_keep_it_from_being_recognised(lab: Laboratory) -> None:
    async with lab.browser() as browser:
        name, _ = await over_tcp(lab, browser)
        await send_text(lab, name, b"Reader 3 is ready\r\n")
        await send_text(lab, name, ROWS)
        _, page = await browser.get(f"/add/{name}/recognise?lang=en")
        assert "rows of 7 cells" in said(page)
        status, page = await recognise(browser, name, **TIMES)
        assert status == 200, said(page)


async def test_a_text_that_would_be_no_result_later_is_none_now_and_that_is_said(lab: Laboratory) -> None:
    async with lab.browser() as browser:
        name, port = await over_tcp(lab, browser)
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(ROWS)
        writer.close()  # at once: the rest may be on its way
        await writer.wait_closed()
        await until(lambda: len(messages_page(lab.app.journal, Filter(channel=name))) == 1, 60)
        (one,) = messages_page(lab.app.journal, Filter(channel=name))
        assert one.reason == ReasonCode.INCOMPLETE.value
        _, page = await browser.get(f"/add/{name}/recognise?lang=en")
        assert "stopped before the end of the message" in said(page)
        assert "let the analyzer stay connected for 2 seconds" in said(page)
        await send_text(lab, name, ROWS)
        _, page = await browser.get(f"/add/{name}/recognise?lang=en")
        assert "stopped before the end of the message" not in said(page)


async def test_a_form_without_its_token_changes_nothing(lab: Laboratory) -> None:
    async with lab.browser() as browser, lab.browser("asha") as operator:
        name, _ = await over_tcp(lab, browser)
        before = files(lab)
        forms: dict[str, dict[str, str]] = {
            "/add/new": {"act": "listen", "called": "B", "how": "listen", "address": "127.0.0.1", "port": "1"},
            f"/add/{name}/listen": {"act": "remove"},
            f"/add/{name}/recognise": {"act": "recognise", "analyzer": "sysmex-xn"},
            f"/add/{name}/codes": {"act": "choose", "rows": '[{"code": "WBC", "loinc": "6690-2"}]'},
            f"/add/{name}/first": {"act": "start", "compared": "yes", "message": "1"},
        }
        for path, form in forms.items():
            for one in (browser, operator):
                status, _ = await one.post(f"{path}?lang=en", form)
                assert status in (400, 403), path
        assert files(lab) == before
        # A step that is not reached yet: nothing was recognised, and nothing came.
        _, fields = await browser.fields(f"/add/{name}/listen?lang=en", "remove")
        form = {**fields, "act": "start", "compared": "yes", "message": "1"}
        status, page = await browser.post(f"/add/{name}/first?lang=en", form)
        assert (status, "while it was a draft" in said(page)) == (403, True), said(page)
        assert files(lab) == before


async def test_what_an_analyzer_sends_runs_nowhere(lab: Laboratory) -> None:
    """Its text is never markup of a page, nor YAML, nor a formula of a table."""
    evil = "<script>alert(1)</script>"
    async with lab.browser() as browser:
        name, _ = await over_tcp(lab, browser)
        rows = f"Sample ID;Patient;Test;Result;Unit;{evil}\r\nS-1;4711;=HGB{evil};13.4;g/dL{evil};{evil}\r\n"
        await send_text(lab, name, rows.encode())
        await _no_markup(browser, f"/add/{name}/recognise?lang=en")
        status, page = await recognise(browser, name)
        assert status == 200, said(page)
        for step in ("codes", "first"):
            await _no_markup(browser, f"/add/{name}/{step}?lang=en")
        text = "".join(files(lab).values())
        assert not {"4711", "S-1", "13.4"} & {*text.replace(";", " ").split()}


async def _no_markup(browser: Browser, path: str) -> None:
    _, page = await browser.get(path)
    assert not [one for one in page.all("script") if "src" not in one.attributes], path
    assert "alert(1)" in page.text, path


async def test_once_it_is_live_only_who_sent_the_draft_may_connect(lab: Laboratory) -> None:
    async with lab.browser() as browser:
        (port,) = quiet_ports(1)
        status, page = await listen(browser, "Haematology", address="0.0.0.0", port=str(port))
        assert status == 200, said(page)
        await until(lambda: lab.app.parts.sources["haematology"].port == port)
        await AstmAnalyzer(port).play(session(*one_record_a_frame(XN)))
        await lab.came("haematology", 1)
        await recognise(browser, "haematology", analyzer="sysmex-xn")
        assert "allow" not in files(lab)["channels/haematology.yaml"]
        _, page = await browser.get("/add/haematology/first?lang=en")
        assert 'allow: ["127.0.0.1"]' in page.one("main").all("details")[-1].text
        status, page = await browser.send("/add/haematology/first?lang=en", "start", compared="yes")
        assert status == 200, said(page)
        assert 'allow: ["127.0.0.1"]' in files(lab)["channels/haematology.yaml"]
        assert [str(one) for one in lab.app.parts.built.site.channels["haematology"].source.allow] == ["127.0.0.1"]


async def test_a_draft_gives_no_orders(lab: Laboratory) -> None:
    """An analyzer that asks is a draft's business no more than one that sends: its orders are not taken as given."""
    path = lab.folder / "channels" / "asks.yaml"
    (port,) = quiet_ports(1)
    text = (
        f"channel: asks\nanalyzer: sysmex-xn\nsource: {{kind: astm, listen: '127.0.0.1:{port}'}}\norders: {{}}\n"
        "routes: [{when: =R, mapping: astm-results, to: city-his}]\n"
    )
    path.write_text(text)
    await lab.app.reload()
    assert lab.app.parts.built.channels["asks"].routes.dialogue is not None
    path.write_text(text.replace("source", "draft: true\nsource"))
    await lab.app.reload()
    assert lab.app.parts.built.channels["asks"].routes.dialogue is None
    asked = AstmAnalyzer(port)
    query = b"H|\\^&|||One^1\rQ|1|^S1||ALL\rL|1|N\r"
    assert (await asked.play(session(*one_record_a_frame(query)))).acknowledged
    await lab.came("asks", 1)
    (one,) = messages_page(lab.app.journal, Filter(channel="asks"))
    assert one.reason == ReasonCode.DRAFT.value


async def test_a_value_is_shown_as_it_was_sent(lab: Laboratory) -> None:
    async with lab.browser() as browser:
        name, port = await over_tcp(lab, browser)
        await AstmAnalyzer(port).play(session(*one_record_a_frame(XN.replace(b"|5.1|", b"|5,12|"))))
        await lab.came(name, 1)
        for decimal, out, judged in ((",", "5.12", "right"), (".", "5,12", "another one")):
            await recognise(browser, name, analyzer="sysmex-xn", decimal=decimal)
            _, page = await browser.get(f"/add/{name}/first?lang=en")
            rows = [tuple(cell.text for cell in one.all("td")) for one in page.one("main").all("tr")]
            values = [row for row in rows if row[:1] == ("5,12",)]
            assert [(row[1].partition(" ")[0], row[2]) for row in values] == [(out, judged)], rows


async def test_a_new_analyzer_gets_nothing_of_one_that_was_removed(lab: Laboratory) -> None:
    async with lab.browser() as browser:
        name, _ = await over_tcp(lab, browser)
        await send_text(lab, name, ROWS)
        status, page = await browser.send(f"/add/{name}/listen?lang=en", "remove")
        assert status == 200, said(page)
        status, page = await listen(browser, "Haematology", port=str(quiet_ports(1)[0]))
        assert (status, "an earlier analyzer" in said(page)) == (403, True), said(page)
        assert files(lab) == {}
        other, _ = await over_tcp(lab, browser, "Haematology 2")
        assert "Nothing came yet" in said((await browser.get(f"/add/{other}/recognise?lang=en"))[1])


async def test_a_person_says_what_a_comma_is_where_that_is_unclear(lab: Laboratory) -> None:
    async with lab.browser() as browser:
        name, port = await over_tcp(lab, browser)
        await AstmAnalyzer(port).play(
            session(*one_record_a_frame(XN.replace(b"|5.1|", b"|5,120|").replace(b"13.4", b"13,400")))
        )
        await lab.came(name, 1)
        _, page = await browser.get(f"/add/{name}/recognise?lang=en")
        (sign,) = [one for one in page.one("main").all("select") if one.attributes["name"] == "decimal"]
        assert not [one for one in sign.all("option") if "selected" in one.attributes and one.attributes["value"]]
        status, page = await recognise(browser, name, analyzer="sysmex-xn")
        assert (status, "a full stop or a comma" in said(page)) == (403, True), said(page)
        status, page = await recognise(browser, name, analyzer="sysmex-xn", decimal=",")
        assert status == 200, said(page)
        assert "5.120" in said((await browser.get(f"/add/{name}/first?lang=en"))[1])
