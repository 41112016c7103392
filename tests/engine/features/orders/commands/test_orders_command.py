"""`labrelay orders` beside a running daemon: each verb with good and with bad arguments, over a real line."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from engine.features.orders.rows import reading
from engine.store.queries.acts import acts_page
from tests.support.asking import asking, question, result
from tests.support.command_line import Ran, labrelay
from tests.support.running import RunningSite, astm_channel, running_site
from tests.support.waiting import until

TUBE, PATIENT, FAMILY = "0042A", "P-170", "SHARMA"
CODES = {"TSH": "TSH3", "FERR": "Ferritin"}
CHANNELS = {
    "chemistry": astm_channel(orders={"answer": "query", "codes": CODES, "deadline": "60s"}),
    "immuno": astm_channel(orders={"answer": "query", "codes": {"TSH": "55"}, "deadline": "60s"}),
}
SAID = ("--reason", "same tube")
SEEN = ("--unmask", "--purpose", "downtime")


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[RunningSite]:
    async with running_site(tmp_path, CHANNELS) as made:
        yield made


async def orders(site: RunningSite, *arguments: str) -> Ran:
    return await site.labrelay("orders", *arguments)


async def add(site: RunningSite, specimen: str = TUBE, *tests: str, patient: str = PATIENT, **more: str) -> None:
    options = [text for name, said in more.items() for text in (f"--{name}", said)]
    ran = await orders(site, "add", specimen, *(tests or ("TSH",)), "--patient", patient, "--family", FAMILY, *options)
    assert ran.code == ExitCode.OK, ran.err


def state(site: RunningSite, number: int = 1) -> str:
    found = reading.item(site.journal, number)
    return "" if found is None else found.item.state.value


async def without_order(site: RunningSite, specimen: str = TUBE, patient: str = PATIENT) -> int:
    """A result without an order; the number of its message. Its delivery waits."""
    before = reading.count_without(site.journal, most=99)
    assert (await site.labrelay("pause", "destination", "lab-fhir", "--reason", "first", "--yes")).code == 0
    async with asking(site.port("chemistry")) as analyzer:
        await analyzer.send(result(specimen, patient, "TSH3", "1.20"))
    await until(lambda: reading.count_without(site.journal, most=99) == before + 1)
    return reading.without_order(site.journal)[0].message_id


async def test_a_result_is_matched_with_an_order_and_that_is_undone(site: RunningSite) -> None:
    message = str(await without_order(site))
    await add(site)
    listed = await orders(site, "unordered", "-o", "json")
    assert [(str(one["message"]), one["results"], one["codes"]) for one in listed.json["results"]] == [
        (message, 1, "TSH3")
    ]
    matched = await orders(site, "match", "w1", message, *SAID, "-o", "json")
    assert (matched.code, matched.json["order"], matched.json["state"], state(site)) == (
        ExitCode.OK, "W1", "resulted", "resulted",
    )  # fmt: skip
    assert (await orders(site, "unordered", "-o", "json")).json["results"] == []
    shown = await orders(site, "show", "W1", "-o", "json")
    last = shown.json["history"][-1]
    assert (last["event"], last["cause"], str(last["message"])) == ("final", "match", message)

    undone = await orders(site, "unmatch", "W1", "--reason", "wrong test")
    assert (undone.code, undone.out, state(site)) == (ExitCode.OK, "W1 is waiting now\n", "waiting")
    again = await orders(site, "unmatch", "W1", "--reason", "wrong test")
    assert (again.code, "the last change of order W1 is no match" in again.err) == (ExitCode.REFUSED, True)

    assert (await orders(site, "match", "W1", message, *SAID)).out == "W1 is resulted now\n"
    assert (await site.labrelay("resume", "destination", "lab-fhir", "--reason", "go on", "--yes")).code == 0
    await until(lambda: site.end_of(int(message)) == "delivered")
    late = await orders(site, "unmatch", "W1", "--reason", "wrong test")
    assert (late.code, "it cannot be undone" in late.err, state(site)) == (ExitCode.REFUSED, True, "resulted")
    acts = [(one.verb, one.what["reason"]) for one in acts_page(site.journal) if "match" in one.verb]
    assert acts[::-1] == [("order-match", "same tube"), ("order-unmatch", "wrong test"), ("order-match", "same tube")]


# Arguments of `match`, MESSAGE is the result's -> exit code, words of the refusal.
REFUSED = [
    (("W1", "MESSAGE"), ExitCode.USAGE, "Missing option '--reason'"),
    (("W1", "MESSAGE", "--reason", " "), ExitCode.USAGE, "say why"),
    (("17", "MESSAGE", *SAID), ExitCode.USAGE, "17 is no order; its number is a W and digits, as W17"),
    (("W1", "x", *SAID), ExitCode.USAGE, "'x' is not a valid integer"),
    (("W1", "-4", *SAID), ExitCode.USAGE, "No such option"),
    (("W9", "MESSAGE", *SAID), ExitCode.REFUSED, "there is no order W9"),
    (("W3", "999", *SAID), ExitCode.REFUSED, "message 999 has no result without an order of the specimen number of W3"),
    (("W2", "MESSAGE", *SAID), ExitCode.REFUSED, "of the specimen number of W2"),  # another tube
    (("W3", "MESSAGE", *SAID), ExitCode.REFUSED, "is of another patient than order W3"),
    (("W4", "MESSAGE", *SAID), ExitCode.REFUSED, "order W4 is cancelled: no result can be matched with it"),
]


async def test_a_match_that_may_be_wrong_is_refused_with_a_reason(site: RunningSite) -> None:
    message = str(await without_order(site))
    await add(site)
    await add(site, "0042B")  # no case, no prefix, no trimmed zero is the same tube
    await add(site, TUBE, "FERR", patient="P-171")  # holds both, and is let go on alone
    for number in ("W1", "W4"):
        if number == "W4":
            await add(site, "0042C")
        assert (await orders(site, "cancel", number, "--reason", "first")).code == ExitCode.OK
    assert (await orders(site, "release", "W3", "--reason", "it is this patient's")).code == ExitCode.OK
    before = [state(site, number) for number in (2, 3, 4)]
    for arguments, code, words in REFUSED:
        ran = await orders(site, "match", *(message if one == "MESSAGE" else one for one in arguments))
        assert (ran.code, words in ran.err) == (code, True), (arguments, ran.code, ran.err)
        assert not [secret for secret in (TUBE, PATIENT, FAMILY) if secret in ran.out + ran.err], arguments
    assert [state(site, number) for number in (2, 3, 4)] == before
    assert not [one for one in acts_page(site.journal) if one.verb == "order-match"]


async def test_a_list_has_the_orders_that_fit(site: RunningSite) -> None:
    await add(site, TUBE, "TSH", "FERR", placer="O-1")
    await add(site, "0043", priority="stat", patient="P-171", **{"for": "immuno"})
    await add(site, "0044", patient="P-172")
    assert (await orders(site, "cancel", "W4", "--reason", "wrong tube")).code == ExitCode.OK

    async def listed(*arguments: str) -> list[str]:
        ran = await orders(site, "list", *arguments, "-o", "json")
        assert ran.code == ExitCode.OK, (arguments, ran.err)
        return [one["order"] for one in ran.json["orders"]]

    for arguments, expected in (
        ((), ["W3", "W2", "W1"]),
        (("--all",), ["W4", "W3", "W2", "W1"]),
        (("--state", "cancelled"), ["W4"]),
        (("--tab", "done"), ["W4"]),
        (("--tab", "waiting", "--channel", "immuno"), ["W3", "W2", "W1"]),
        (("--specimen", TUBE), ["W2", "W1"]),
        (("--specimen", "0044"), ["W4"]),  # also one that has ended
        (("--specimen", TUBE.lower()), []),
        (("--patient", "p-171"), ["W3"]),
        (("--placer", "O-1"), ["W2", "W1"]),
        (("--reason", "SPECIMEN_CONFLICT"), []),
        (("--since", "1h"), ["W3", "W2", "W1"]),
        (("--channel", "chemistry"), ["W2", "W1"]),
        (("--limit", "1"), ["W3"]),
    ):
        assert await listed(*arguments) == expected, arguments
    assert [one.what.get("patient_token") is not None for one in acts_page(site.journal) if one.verb == "search"] == [
        True
    ]


WRONG = [
    (("list", "--tab", "wainting"), ExitCode.USAGE, "did you mean waiting"),
    (("list", "--tab", "waiting", "--state", "held"), ExitCode.USAGE, "give --tab without --state"),
    (("list", "--state", "lost"), ExitCode.USAGE, "'lost' is not known"),
    (("list", "--reason", "UNMAPED_CODE"), ExitCode.USAGE, "did you mean UNMAPPED_CODE"),
    (("list", "--since", "yesterday"), ExitCode.USAGE, "yesterday"),
    (("list", "--channel", "chemistri"), ExitCode.FAILED, "there is no channel chemistri"),
    (("log", "--channel", "chemistri"), ExitCode.FAILED, "there is no channel chemistri"),
    (("unordered", "--channel", "chemistri"), ExitCode.FAILED, "there is no channel chemistri"),
    (("show", "W9"), ExitCode.FAILED, "there is no order W9"),
    (("cancel", "W9", *SAID), ExitCode.REFUSED, "there is no order W9"),
    (("release", "W1", *SAID), ExitCode.REFUSED, "order W1 is waiting, and cannot be changed so"),
    (("unmatch", "W1", *SAID), ExitCode.REFUSED, "the last change of order W1 is no match"),
    (("add", TUBE), ExitCode.USAGE, "Missing argument 'TEST...'"),
    (("add", TUBE, "TSH", "--priority", "now"), ExitCode.USAGE, "'now' is not known"),
    (("add", TUBE, "TSH", "--for", "none"), ExitCode.FAILED, "no channel with orders has the name none"),
    (("fetch", "chemistry"), ExitCode.USAGE, "give either --specimen or --since"),
    (("fetch", "none", "--specimen", "1"), ExitCode.FAILED, "none"),
    (("fetch", "chemistry", "--specimen", "1"), ExitCode.FAILED, "not connected"),
    (("worklist",), ExitCode.USAGE, "add --unmask and --purpose"),
    (("worklist", "--unmask"), ExitCode.USAGE, "--purpose TEXT is missing"),
    (
        ("worklist", "none", *SEEN),
        ExitCode.FAILED,
        "no channel with orders has the name none; these have orders: chemistry, immuno",
    ),
]


async def test_wrong_arguments_get_an_error_that_says_what_to_do(site: RunningSite) -> None:
    await add(site, "0050")
    for arguments, code, words in WRONG:
        ran = await orders(site, *arguments)
        assert (ran.code, words in ran.err) == (code, True), (arguments, ran.code, ran.err)
        assert TUBE not in ran.err, arguments
    rejected = await orders(site, "add", "0051", "NONE")
    assert (rejected.code, "NONE: rejected (UNKNOWN_TEST)" in rejected.out) == (ExitCode.PARTLY, True)


async def test_the_log_has_the_questions_for_a_tube_and_those_in_vain(site: RunningSite) -> None:
    await add(site)
    async with asking(site.port("chemistry")) as analyzer:
        await analyzer.ask(question(TUBE))
        await analyzer.ask(question("unknown-9"))
    await until(lambda: state(site) == "offered")

    async def logged(*arguments: str) -> list[tuple[int, list[str]]]:
        ran = await orders(site, "log", *arguments, "-o", "json")
        assert (ran.code, "unknown-9" in ran.out) == (ExitCode.OK, False), ran.err
        return [(one["question"], one["none"]) for one in ran.json["questions"]]

    assert await logged() == [(2, ["unknown"]), (1, [])]
    assert await logged("--unanswered") == [(2, ["unknown"])]
    assert await logged("--specimen", TUBE) == [(1, [])]
    assert await logged("--specimen", "unknown") == []
    assert await logged("--since", "1h", "--limit", "1") == [(2, ["unknown"])]


async def waiting_worklist(site: RunningSite) -> None:
    await add(site, "0043", "FERR", patient="P-171")
    await add(site, TUBE, "TSH", priority="stat", **{"for": "immuno"})
    await add(site, "=1+1", "TSH", patient="P-172", **{"for": "chemistry"})


async def test_a_worklist_is_written_for_paper_as_text_and_as_csv(site: RunningSite) -> None:
    await waiting_worklist(site)
    ran = await orders(site, "worklist", *SEEN)
    assert ran.code == ExitCode.OK, ran.err
    head, *lines = [line.split() for line in ran.out.splitlines() if line]
    assert head[:2] == ["Worklist", "of"]
    assert lines == [
        ["chemistry"],
        ["TUBE", "PATIENT", "TESTS"],
        ["0043", "P-171,", FAMILY, "Ferritin", "(FERR)"],
        ["=1+1", "P-172,", FAMILY, "TSH3", "(TSH)"],
        ["immuno"],
        ["TUBE", "PRIORITY", "PATIENT", "TESTS"],
        [TUBE, "URGENT", f"{PATIENT},", FAMILY, "55", "(TSH)"],
    ]
    one = await orders(site, "worklist", "immuno", *SEEN, "-o", "json")
    assert [sheet["channel"] for sheet in one.json["sheets"]] == ["immuno"]
    assert one.json["sheets"][0]["tubes"][0]["tests"][0]["code"] == "55"
    rows = list(csv.DictReader(io.StringIO((await orders(site, "worklist", *SEEN, "-o", "csv")).out)))
    assert [(row["analyzer"], row["tube"], row["code"], row["urgent"], row["order"]) for row in rows] == [
        ("chemistry", "0043", "Ferritin", "", "W1"),
        ("chemistry", "'=1+1", "TSH3", "", "W3"),  # no formula in a spreadsheet
        ("immuno", TUBE, "55", "yes", "W2"),
    ]
    noted = [one.what for one in acts_page(site.journal) if one.verb == "unmask"]
    assert noted[::-1] == [
        {"export": {"worklist": ["immuno"] if only else "all"}, "purpose": "downtime"} for only in (False, True, False)
    ]


async def test_a_worklist_is_written_without_the_daemon(tmp_path: Path) -> None:
    async with running_site(tmp_path, CHANNELS) as site:
        await waiting_worklist(site)
        folder = site.folder
    ran = await asyncio.to_thread(labrelay, "orders", "worklist", *SEEN, "-o", "json", site=folder)
    assert ran.code == ExitCode.OK, ran.err
    assert {one["channel"]: len(one["tubes"]) for one in ran.json["sheets"]} == {"chemistry": 2, "immuno": 1}
