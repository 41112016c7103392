"""A dead message, corrected on the page: bytes that a person leaves alone stay, and what is shown is what is done."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.features.codes.service.correcting import Correcting
from engine.features.results.pages.panels import READING
from engine.features.rework.lists.edited import MOST_SHOWN
from engine.model.site.corrections import RowChange
from engine.store.queries.acts import acts_page
from engine.store.queries.reader import stored_payload
from tests.support.access import Browser
from tests.support.acting_pages import ActingSite, acting_site, alert, form_of, offers
from tests.support.running import hl7_channel
from tests.support.senders import send_blocks
from tests.support.status_server import Element

DEAD = (
    b"MSH|^~\\&|XN|LAB|||20260301101530||ADT^R01|C1|P|2.5\r"
    b"PID|1||7^^^HOSP^MR||SHARMA^ANITA\r"
    b"OBR|1|O1|F1|CBC\r"
    b"OBX|1|NM|718-7^Hb^LN||14.1|g/dL|||||F\r"
)
WRONG, RIGHT = "ADT^R01", "ORU^R01"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[ActingSite]:
    async with acting_site(tmp_path, {"lab": hl7_channel(charset=["utf-8", "latin-1"])}) as site:
        yield site


@pytest.fixture
async def asha(here: ActingSite) -> AsyncIterator[Browser]:
    async with here.browser("asha") as browser:
        yield browser


async def dead(here: ActingSite, payload: bytes = DEAD) -> int:
    """The number of a new dead message."""
    await send_blocks(here.site.port("lab"), [payload])
    await here.site.settled()
    message = here.site.messages()[-1]
    assert message.state == "dead"
    return message.id


async def opened(browser: Browser, message: int, purpose: str = "a typing error") -> Element:
    """The page with the text."""
    _, page = await browser.get(f"/messages/{message}/edit?lang=en")
    action, fields = form_of(page, "/edit")
    status, page = await browser.post(action, {**fields, "purpose": purpose})
    assert status == 200, page.text
    return page


async def previewed(browser: Browser, page: Element, old: str = WRONG, new: str = RIGHT) -> tuple[int, Element]:
    action, fields = form_of(page, "/edit")
    assert old in fields["text"]
    return await browser.post(action, {**fields, "text": fields["text"].replace(old, new)})


def acts(here: ActingSite, verb: str) -> list[tuple[str, object]]:
    found = [act for act in acts_page(here.site.journal) if act.verb == verb]
    return [(str(act.actor), act.what["message"]) for act in found if act.what.get("purpose") != READING]


async def test_a_dead_message_is_corrected_and_delivered(here: ActingSite, asha: Browser) -> None:
    message = await dead(here)
    _, page = await asha.get(f"/messages/{message}?lang=en")
    assert offers(page)["Edit"] == f"/messages/{message}/edit?lang=en"
    _, page = await asha.get("/dead-letters/each?lang=en")
    assert offers(page)["Edit"] == f"/messages/{message}/edit?lang=en"

    page = await opened(asha, message)
    assert acts(here, "unmask") == [("asha", message)]
    status, page = await previewed(asha, page)
    assert (status, alert(page)) == (200, "")
    assert acts(here, "unmask") == [("asha", message)] * 2
    diff = page.one("pre", class_="diff")
    assert [one.attributes["class"] for one in diff.all("span")] == ["gone", "come", "same", "same"]
    assert [one.text for one in diff.all("mark")] == ["ADT", "ORU"]
    assert "lab-fhir" in page.one("main").text
    assert len(here.site.messages()) == 1  # looking does nothing

    action, fields = form_of(page, "/edit/do")
    status, page = await asha.post(action, {**fields, "reason": "wrong event"})
    await here.site.settled()
    new = here.site.messages()[-1]
    assert (status, asha.path, here.site.end_of(new.id)) == (200, f"/messages/{new.id}", "delivered")
    assert stored_payload(here.site.journal, new.id) == DEAD.replace(b"ADT", b"ORU")
    assert stored_payload(here.site.journal, message) == DEAD
    assert f"A person made it from message {message}" in page.text
    _, page = await asha.get(f"/messages/{message}?lang=en")
    assert f"message {new.id} took its place" in page.text
    assert "Edit" not in offers(page)
    assert acts(here, "edit") == [("asha", message)]

    again, _ = await asha.post(action, {**fields, "reason": "wrong event"})  # Enter, pressed twice
    assert (again, len(here.site.messages())) == (200, 2)


@pytest.mark.parametrize("person", ["viewer", "operator", "engineer"])
async def test_who_may_not_act_or_sees_no_patients_is_refused(here: ActingSite, person: str) -> None:
    message = await dead(here)
    async with here.browser(person) as browser:
        _, page = await browser.get(f"/messages/{message}?lang=en")
        assert "Edit" not in offers(page)
        for address in (f"/messages/{message}/edit", f"/messages/{message}/edit/do"):
            status, page = await browser.post(address, {"purpose": "x", "text": "", "content": ""})
            assert (status, "SHARMA" in page.text) == (403, False)
        assert (await browser.get(f"/messages/{message}/edit"))[0] == 403
    assert acts(here, "unmask") == []


BYTES = {
    "no end of the last line": DEAD.removesuffix(b"\r"),
    "LF": DEAD.replace(b"\r", b"\n"),
    "CR LF": DEAD.replace(b"\r", b"\r\n"),
    "mixed ends": DEAD.replace(b"\rPID", b"\nPID").replace(b"\rOBX", b"\r\nOBX"),
    "empty lines": DEAD.replace(b"\rPID", b"\r\r\rPID") + b"\r\r",
    "spaces at the end of lines": DEAD.replace(b"\r", b" \t  \r"),
    "a line feed first": b"\n" + DEAD,
    "latin-1": DEAD.replace(b"SHARMA", b"M\xfcLLER\xff\x80"),
    "half of a sign": DEAD.replace(b"SHARMA", b"\xe0\xa4"),
    "Hindi": DEAD.replace(b"SHARMA", "शर्मा\u200d".encode()),
    "a byte order mark": DEAD.replace(b"SHARMA", b"\xef\xbb\xbfSHARMA"),
    "directions": DEAD.replace(b"SHARMA", "\u202eSHARMA\u2066\u00a0\u2028".encode()),
    "controls": DEAD.replace(b"SHARMA", bytes(one for one in range(32) if one not in b"\r\n\x1c\x0b") + b"\x7f\x85"),
    "marks that look like bytes": DEAD.replace(b"SHARMA", b"<0A><3C>0D></textarea><script>alert(1)</script>&lt;&#13;"),
    "a lone surrogate": DEAD.replace(b"SHARMA", b"\xed\xa0\x80"),
    "decomposed": DEAD.replace(b"SHARMA", b"e\xcc\x81 \xef\xac\x81"),
    "our own head": b"# labrelay: x\r" + DEAD,
}  # fmt: skip


@pytest.mark.parametrize("name", BYTES)
async def test_bytes_that_are_left_alone_stay(here: ActingSite, asha: Browser, name: str) -> None:
    message = await dead(here, BYTES[name])
    before = stored_payload(here.site.journal, message)
    page = await opened(asha, message)
    assert page.all("script", src=None) == []
    status, same = await previewed(asha, page, "", "")
    assert (status, alert(same)) == (400, "Nothing was changed, so nothing is done.")

    status, page = await previewed(asha, page, "20260301101530", "20260301101531")
    _, page = await previewed(asha, page, "20260301101531", "20260301101531")  # once more through the form
    assert "20260301101530" in page.one("pre", class_="diff").text
    _, page = await previewed(asha, page, WRONG, RIGHT)
    action, fields = form_of(page, "/edit/do")
    status, page = await asha.post(action, {**fields, "reason": "typo"})
    assert status == 200, page.text
    stored = stored_payload(here.site.journal, here.site.messages()[-1].id)
    assert stored == before.replace(b"20260301101530", b"20260301101531").replace(b"ADT^R01", b"ORU^R01")


async def test_another_patient_is_shown_loudly(here: ActingSite, asha: Browser) -> None:
    page = await opened(asha, await dead(here))
    _, page = await previewed(asha, page, "7^^^HOSP", "8^^^HOSP")
    assert "another patient or specimen" in alert(page)
    (row,) = page.one("section", role="alert").one("tbody").all("tr")
    assert [cell.text for cell in row.children] == ["PID[1]-3 patient", "7^^^HOSP^MR", "8^^^HOSP^MR"]
    _, page = await previewed(asha, page, "O1|F1", "O2|F1")
    assert [row.children[0].text for row in page.one("section", role="alert").one("tbody").all("tr")] == [
        "PID[1]-3 patient",
        "OBR[1]-2 specimen or order",
    ]


TWO_PATIENTS = (
    b"MSH|^~\\&|XN|LAB|||20260301101530||ADT^R01|C1|P|2.5\r"
    b"PID|1||7^^^HOSP^MR||SHARMA^ANITA\r"
    b"OBR|1|O1|F1|CBC\r"
    b"OBX|1|NM|2823-3^K^LN||6.9|mmol/L|||||F\r"
    b"PID|2||8^^^HOSP^MR||VERMA^RAVI\r"
    b"OBR|2|O2|F2|CBC\r"
    b"OBX|1|NM|2951-2^Na^LN||140|mmol/L|||||F\r"
)


async def test_a_result_that_moves_to_another_patient_is_shown_loudly(here: ActingSite, asha: Browser) -> None:
    page = await opened(asha, await dead(here, TWO_PATIENTS))
    _, text = form_of(page, "/edit")
    (line,) = [one for one in text["text"].split("\r\n") if "2823-3" in one]
    moved = text["text"].replace(f"{line}\r\n", "") + f"{line}\r\n"
    _, page = await previewed(asha, page, text["text"], moved)
    section = page.one("section", role="alert")
    assert "move to another patient or specimen" in section.text
    (row,) = section.one("tbody").all("tr")
    assert [cell.text for cell in row.children] == [
        line,
        "PID[1] 7^^^HOSP^MR, OBR[1] O1",
        "PID[2] 8^^^HOSP^MR, OBR[2] O2",
    ]


async def test_a_result_that_is_gone_and_lines_that_are_alike_are_said(here: ActingSite, asha: Browser) -> None:
    page = await opened(asha, await dead(here, DEAD + b"OBX|2|NM|718-7^Hb^LN||14.1|g/dL|||||F\r"))
    _, page = await previewed(asha, page, "OBX|2|NM|718-7^Hb^LN||14.1|g/dL|||||F\r\n", "")
    said = page.one("section", role="alert").text
    assert "The line is not there" in said
    assert "Other lines are alike" in said


async def test_a_long_change_says_that_it_is_cut(here: ActingSite, asha: Browser) -> None:
    notes = "".join(f"NTE|{n}||old\r" for n in range(1200))
    page = await opened(asha, await dead(here, DEAD + notes.encode()))
    _, page = await previewed(asha, page, notes.replace("\r", "\r\n"), "NTE|1||new\r\n")
    signs = [one.attributes["class"] for one in page.one("pre", class_="diff").all("span")]
    assert (signs.count("gone"), "come" in signs) == (MOST_SHOWN, True)
    assert "Changed lines that are not shown: 70" in page.one("main").text.partition("What changes")[2]


async def test_a_text_that_would_be_dead_again_cannot_be_taken(here: ActingSite, asha: Browser) -> None:
    page = await opened(asha, await dead(here))
    for old, new, said in (("ADT^R01", "ADT^A08", "NO_ROUTE"), ("MSH|", "", "UNREADABLE")):
        status, preview = await previewed(asha, page, old, new)
        assert (status, said in preview.text) == (200, True), said
        assert not [form for form in preview.all("form") if "/edit/do" in form.attributes["action"]]
    for text in ("", "   \n"):
        action, fields = form_of(page, "/edit")
        status, refused = await asha.post(action, {**fields, "text": text})
        assert (status, "is empty" in alert(refused)) == (400, True)
    assert len(here.site.messages()) == 1


async def test_a_sign_that_the_character_set_lacks_keeps_the_text(tmp_path: Path) -> None:
    latin = hl7_channel(charset="latin-1")
    async with acting_site(tmp_path, {"lab": latin}) as here, here.browser("asha") as asha:
        page = await opened(asha, await dead(here, DEAD.replace(b"SHARMA", b"M\xfcLLER")))
        status, page = await previewed(asha, page, "ANITA", "अनीता")
        assert (status, "not in the message's character set" in alert(page)) == (400, True)
        assert "अनीता" in form_of(page, "/edit")[1]["text"]


async def test_the_act_does_what_was_shown_or_nothing(here: ActingSite, asha: Browser) -> None:
    message = await dead(here)
    _, page = await previewed(asha, await opened(asha, message))
    action, fields = form_of(page, "/edit/do")
    for changed, status in (
        ({"config_hash": "0" * 12}, 403), ({"config_hash": ""}, 403), ({"reason": " "}, 403), ({"content": ""}, 403),
        ({"form": "0"}, 403),
        ({"content": "\xff"}, 400), ({"once": ""}, 400),
    ):  # fmt: skip
        assert (await asha.post(action, {**fields, "reason": "x", **changed}))[0] == status, changed
    assert len(here.site.messages()) == 1
    await here.site.labrelay("dlq", "dismiss", str(message), "--reason", "x", "--yes")
    status, page = await asha.post(action, {**fields, "reason": "x"})
    assert (status, "is no dead letter" in alert(page)) == (403, True)
    status, page = await asha.get(f"/messages/{message}/edit?lang=en")
    assert (status, "is no dead letter" in alert(page)) == (404, True)


async def test_another_configuration_is_looked_at_again(here: ActingSite, asha: Browser) -> None:
    message = await dead(here)
    page = await opened(asha, message)
    _, preview = await previewed(asha, page)
    correcting = Correcting(here.site.app.journal, lambda: here.site.app.parts.built.site, here.site.app)
    row = RowChange(
        channel="lab", table="analytes", key={"code": "718-7"}, cells={"loinc": "789-8", "type": "NM"}, reason="x"
    )
    await correcting.make(lambda made: row, "ravi", version=0)
    for reload in (False, True):
        if reload:
            with (here.site.folder / "channels" / "lab.yaml").open("a") as file:
                file.write("# another configuration\n")
            await here.site.app.reload()
        action, fields = form_of(preview, "/edit/do")
        status, refused = await asha.post(action, {**fields, "reason": "wrong event"})
        assert (status, "configuration has changed" in alert(refused)) == (403, True)
        assert len(here.site.messages()) == 1
        _, preview = await previewed(asha, page)
    action, fields = form_of(preview, "/edit/do")
    assert (await asha.post(action, {**fields, "reason": "wrong event"}))[0] == 200
    assert len(here.site.messages()) == 2


async def test_a_purpose_comes_first(here: ActingSite, asha: Browser) -> None:
    message = await dead(here)
    _, page = await asha.get(f"/messages/{message}/edit?lang=en")
    assert "SHARMA" not in page.text
    action, fields = form_of(page, "/edit")
    status, page = await asha.post(action, {**fields, "purpose": " ", "text": "x"})
    assert (status, "SHARMA" in page.text) == (400, False)
    assert acts(here, "unmask") == []
    assert (await asha.get("/messages/999/edit"))[0] == 404


async def test_a_large_message_is_edited_elsewhere(here: ActingSite, asha: Browser) -> None:
    large = DEAD + b"NTE|1||" + b"x" * 600_000 + b"\r"
    message = await dead(here, large)
    _, page = await asha.get(f"/messages/{message}/edit?lang=en")
    action, fields = form_of(page, "/edit")
    status, page = await asha.post(action, {**fields, "purpose": "x"})
    assert (status, f"labrelay dlq edit {message}" in alert(page)) == (409, True)
    fits = await dead(here, DEAD.replace(b"C1", b"C2") + b"NTE|1||" + b"|^" * 60_000 + b"\r")
    status, page = await previewed(asha, await opened(asha, fits))
    assert (status, alert(page)) == (200, "")
