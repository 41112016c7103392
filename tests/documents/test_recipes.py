"""The recipes among the samples: a channel and its mapping, as a site takes them, with messages that are really posted.

`NN-name.json` is sent as its sender would send it, and `NN-name.expected.json` is the document that comes out, byte for
byte; a message without a document has its end there. LABRELAY_UPDATE_SAMPLES=1 writes them anew.
"""

import base64
import hmac
import json
import re
import shutil
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.expected import UPDATE
from tests.support.http_sender import Response, Sender, sender
from tests.support.running import RunningSite, make_running_site, running_app

SAMPLES = Path(__file__).parents[2] / "samples"
RECIPES = sorted(path.parent.name for path in SAMPLES.glob("*/channel.yaml"))
SECRET = "s3cret-of-the-sender"

Json = dict[str, Any]


def signed(body: bytes, ago_s: int = 0) -> dict[str, str]:
    """The headers of the payment service."""
    at = str(int(time.time()) - ago_s)
    signature = hmac.digest(SECRET.encode(), f"{at}.".encode() + body, "sha256")
    return {"X_Webhook_Timestamp": at, "X_Webhook_Signature": base64.b64encode(signature).decode()}


def with_token(_body: bytes) -> dict[str, str]:
    return {"Authorization": f"Bearer {SECRET}"}


PROOFS: dict[str, Callable[[bytes], dict[str, str]]] = {"payment_notice": signed, "gst_invoice": with_token}


def messages(recipe: str) -> list[Path]:
    return sorted(path for path in (SAMPLES / recipe).glob("*.json") if not path.name.endswith(".expected.json"))


def make_site(folder: Path, recipe: str) -> Json:
    """A site with the files of a recipe where its channel says that they go; the channel, on a free port."""
    channel: Json = yaml.safe_load((SAMPLES / recipe / "channel.yaml").read_text(encoding="utf-8"))
    (folder / "mappings").mkdir()
    for route in channel["routes"]:
        if "mapping" in route:
            shutil.copy(SAMPLES / recipe / f"{route['mapping']}.yaml", folder / "mappings")
    channel["source"]["listen"] = "127.0.0.1:0"
    to = {route["to"]: {"kind": "file", "folder": str(folder / "out")} for route in channel["routes"] if "to" in route}
    make_running_site(folder, {channel.pop("channel"): channel}, to)
    return channel


async def send(one: Sender, recipe: str, body: bytes, path: str) -> Response:
    answer = await one.post(body, path, Content_Type="application/json", **PROOFS[recipe](body))
    assert answer is not None
    return answer


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PAYMENT_SECRET", "BILLING_TOKEN"):
        monkeypatch.setenv(name, SECRET)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.usefixtures("secrets")
async def test_what_is_posted_comes_out_as_the_recipe_says(recipe: str, tmp_path: Path) -> None:
    channel = make_site(tmp_path, recipe)
    (name,) = [path.stem for path in (tmp_path / "channels").iterdir()]
    async with running_app(tmp_path, own_tables=True) as app:
        site = RunningSite(tmp_path, app, sandbox=None)  # type: ignore[arg-type]  # its destination is a folder
        async with sender(site.port(name)) as one:
            for number, message in enumerate(messages(recipe), 1):
                body = message.read_bytes()
                answer = await send(one, recipe, body, channel["source"]["path"])
                assert (answer.status, answer.json) == (200, {"messages": [number]})
                await site.settled()
                new = sorted((tmp_path / "out").glob("*"))
                found = [path.read_bytes().decode() for path in new] or [f"{site.ends()[-1]}\n"]
                for path in new:
                    path.unlink()
                expected = message.with_suffix(".expected.json")
                if UPDATE:
                    expected.write_text("".join(found), encoding="utf-8")
                assert found == [expected.read_text(encoding="utf-8")]
            refused = await one.post(b"{}", channel["source"]["path"], Content_Type="application/json")
            assert refused is not None
            assert refused.status == 401
        assert not list((tmp_path / "out").glob("*"))


@pytest.mark.usefixtures("secrets")
async def test_a_notice_that_is_sent_again_is_answered_and_paid_once(tmp_path: Path) -> None:
    channel = make_site(tmp_path, "payment_notice")
    path = channel["source"]["path"]
    body = messages("payment_notice")[0].read_bytes()
    others = [body.replace(b"evt_8Kq2mT1", b"evt_other%d" % number) for number in range(3)]
    async with running_app(tmp_path, own_tables=True) as app:
        site = RunningSite(tmp_path, app, sandbox=None)  # type: ignore[arg-type]
        async with sender(site.port("payments")) as one:
            for notice in others:  # after these it is known that notices have numbers of their own
                await send(one, "payment_notice", notice, path)
            assert (await send(one, "payment_notice", body, path)).json == {"messages": [4]}
            headers = signed(body, 60)
            recorded = [await one.post(body, path, Content_Type="application/json", **headers) for _ in range(2)]
            assert [answer.status for answer in recorded if answer is not None] == [200, 409]
            assert recorded[0] is not None
            assert recorded[0].json == {"messages": [4]}  # signed anew: the number of the first
        await site.settled()
        assert site.ends() == ["delivered"] * 4 + ["REPEAT"]
        assert len(list((tmp_path / "out").glob("*"))) == 4


def test_each_recipe_has_messages_and_what_comes_of_them() -> None:
    assert sorted(PROOFS) == RECIPES
    for recipe in RECIPES:
        folder = SAMPLES / recipe
        expected = {path.name for path in folder.glob("*.expected.json")}
        assert expected == {path.with_suffix(".expected.json").name for path in messages(recipe)} != set()


# -- the invoice as its public schema has it (INV-01, version 1.1) -----------------------------------------------------

ADDRESS = {"Gstin": r"\d{2}[0-9A-Z]{13}", "LglNm": r".{3,100}", "Addr1": r".{1,100}", "Loc": r".{3,50}",
           "Stcd": r"\d{1,2}"}  # fmt: skip
AMOUNTS = ("AssVal", "CgstVal", "SgstVal", "IgstVal", "TotInvVal")
LINE = ("Qty", "UnitPrice", "TotAmt", "AssAmt", "GstRt", "CgstAmt", "SgstAmt", "IgstAmt", "TotItemVal")


@pytest.mark.parametrize("message", messages("gst_invoice"), ids=lambda path: path.stem)
def test_an_invoice_has_what_its_schema_asks_for(message: Path) -> None:
    text = message.with_suffix(".expected.json").read_text(encoding="utf-8")
    invoice = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    assert list(invoice) == ["Version", "TranDtls", "DocDtls", "SellerDtls", "BuyerDtls", "ValDtls", "ItemList"]
    assert invoice["Version"] == "1.1"
    assert (invoice["TranDtls"]["TaxSch"], invoice["TranDtls"]["SupTyp"]) == ("GST", "B2B")
    document = invoice["DocDtls"]
    assert document["Typ"] == "INV"
    assert re.fullmatch(r"[a-zA-Z1-9][a-zA-Z0-9/-]{0,15}", document["No"])
    assert re.fullmatch(r"(0[1-9]|[12]\d|3[01])/(0[1-9]|1[0-2])/2\d{3}", document["Dt"])
    for side in ("SellerDtls", "BuyerDtls"):
        for name, pattern in ADDRESS.items():
            assert re.fullmatch(pattern, invoice[side][name]), f"{side}.{name}"
        assert Decimal(100_000) <= invoice[side]["Pin"] <= 999_999
    assert re.fullmatch(r"\d{1,2}", invoice["BuyerDtls"]["Pos"])
    for line in invoice["ItemList"]:
        assert re.fullmatch(r"\d{1,6}", line["SlNo"])
        assert (line["IsServc"], line["HsnCd"][:2]) == ("Y", "99")  # a service has a code of chapter 99
        assert all(isinstance(line[name], Decimal) for name in LINE)
        assert line["TotItemVal"] == line["AssAmt"] + line["CgstAmt"] + line["SgstAmt"] + line["IgstAmt"]
    totals = invoice["ValDtls"]
    assert all(isinstance(totals[name], Decimal) for name in AMOUNTS)
    assert totals["AssVal"] == sum(line["AssAmt"] for line in invoice["ItemList"])
    assert totals["TotInvVal"] == sum(line["TotItemVal"] for line in invoice["ItemList"]) + totals["RndOffAmt"]
