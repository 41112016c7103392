"""What a report itself says after histories of one order: its status, its comment and its document."""

from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from tests.support.running import RunningSite, hl7_channel, running_site
from tests.support.senders import lines, send_blocks

CHANNELS = {"hl7": hl7_channel(settings={"patient_system": "urn:x:mrn"})}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[RunningSite]:
    async with running_site(tmp_path, CHANNELS) as site:
        yield site


async def say(
    site: RunningSite, status: str, *results: str, comment: str = "", document: str = "", patient: str = "4711",
    beside: Sequence[str] = (),
) -> str:  # fmt: skip
    """Send a report (OBR-25) with results like ``F GLU 5.5 OBX-4``; how it ended, the cause where it is held.

    Args:
        beside: segments of other reports.
    """
    number = len(site.messages()) + 1
    segments = [
        f"MSH|^~\\&|AN|LAB|LIS|H|202603011200{number:02}||ORU^R01|M{number}|P|2.5.1",
        f"PID|1||{patient}||Iyer^Meena||19550101|F" if patient else "PID|1",
        *([f"NTE|1||{comment}"] if comment else []),
        f"OBR|1||S1|CHEM^Chemistry^L|||20260301093000|||||||||||||||202603011200{number:02}||LAB|{status}",
    ]
    for place, one in enumerate(results, 1):
        state, code, value, *sub = one.split()
        said = "" if value == "-" else value
        kind = "CWE" if "^" in said else "TX" if said.isalpha() else "NM"
        segments.append(f"OBX|{place}|{kind}|{code}^{code}^L|{''.join(sub)}|{said}|mmol/L|||||{state}|||20260301093000")
    if document:
        body = b64encode(document.encode()).decode()
        segments.append(f"OBX|{len(results) + 1}|ED|PDF^Report^L||AN^AP^PDF^Base64^{body}||||||F|||20260301093000")
    (answer,) = await send_blocks(site.port("hl7"), ["\r".join([*segments, *beside, ""]).encode()])
    assert lines(answer)["MSA"][1] == "AA"
    await site.settled()
    last = site.messages()[-1].id
    return next((one.cause for one in site.deliveries(last) if one.state == "held"), site.end_of(last))


def report(site: RunningSite) -> tuple[str, int]:
    """The status of the one report, and how many results it lists."""
    (one,) = site.sandbox.resources("DiagnosticReport")
    return one["status"], len(one.get("result", ()))


# The reports that come in turn -> how the last one ended; status of the report on the server, and how many it lists.
CANCELLED = [
    pytest.param([("F", "F GLU 5.5"), ("X", "X UREA -")], "delivered", ("final", 2), id="another test"),
    pytest.param([("X", "X UREA -"), ("F", "F GLU 5.5")], "delivered", ("final", 2), id="another test first"),
    pytest.param([("P", "P GLU 5.5"), ("X", "X UREA -")], "delivered", ("partial", 2), id="beside a preliminary one"),
    pytest.param([("X", "X GLU -"), ("X", "X UREA -")], "delivered", ("cancelled", 2), id="each test"),
    pytest.param([("F", "F GLU 5.5"), ("X",)], "VALUE_GONE", ("final", 1), id="the order alone"),
    pytest.param([("F", "F GLU 5.5"), ("X", "F GLU 5.5")], "VALUE_GONE", ("final", 1), id="with its results again"),
    pytest.param([("P", "P GLU 5.5"), ("X",)], "VALUE_GONE", ("preliminary", 1), id="a preliminary one alone"),
    pytest.param([("X", "X GLU -"), ("X",)], "ECHO", ("cancelled", 1), id="what has no value"),
]


@pytest.mark.parametrize(("told", "ended", "expected"), CANCELLED)
async def test_a_cancelled_report_takes_no_result_back(
    site: RunningSite, told: list[tuple[str, ...]], ended: str, expected: tuple[str, int]
) -> None:
    for status, *results in told:
        end = await say(site, status, *results)
    assert (end, report(site)) == (ended, expected)


async def test_nor_does_one_behind_a_test_that_was_cancelled(site: RunningSite) -> None:
    await say(site, "F", "F GLU 5.5")
    await say(site, "X", "X UREA -")
    assert await say(site, "X", comment="the tube was empty") == "VALUE_GONE"
    assert report(site) == ("final", 2)


@pytest.mark.parametrize("again", [(), ("F GLU 5.5",)], ids=["alone", "with its results again"])
async def test_a_person_lets_a_cancelled_report_go(site: RunningSite, again: tuple[str, ...]) -> None:
    await say(site, "F", "F GLU 5.5")
    assert await say(site, "X", *again) == "VALUE_GONE"
    ran = await site.labrelay("held", "release", "2", "--reason", "the tube was empty", "--yes")
    assert ran.code == ExitCode.OK, ran.err
    await site.settled()
    assert report(site) == ("cancelled", 1)


# The reports that come in turn, each with its comment and document -> both on the server.
TEXTS = [
    pytest.param([("F GLU 5.5", "clotted", "one"), ("F UREA 4.0", "", "")], ("clotted", "one"), id="another test"),
    pytest.param(
        [("F GLU 5.5", "clotted", ""), ("F UREA 4.0", "", "one"), ("F NA 140", "", "")], ("clotted", "one"),
        id="from two messages",
    ),
    pytest.param([("F GLU 5.5", "clotted", "one"), ("F UREA 4.0", "icteric", "two")], ("icteric", "two"), id="newer"),
    pytest.param([("F GLU 5.5", "clotted", "one"), ("X UREA -", "", "")], ("clotted", "one"), id="a cancelled test"),
    pytest.param([("P GLU 5.5", "clotted", "one"), ("F GLU 5.6", "", "")], ("", ""), id="the same test anew"),
    pytest.param([("F GLU 5.5", "clotted", "one"), ("C GLU 5.6", "", "")], ("", ""), id="corrected"),
    pytest.param(
        [("F GLU 5.5", "clotted", "one"), ("C GLU 5.6", "", ""), ("F UREA 4.0", "", "")], ("", ""),
        id="another test behind a correction",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("told", "expected"), TEXTS)
async def test_another_test_takes_no_comment_and_no_document_out_of_the_report(
    site: RunningSite, told: list[tuple[str, str, str]], expected: tuple[str, str]
) -> None:
    for result, comment, document in told:
        await say(site, result[0], result, comment=comment, document=document)
    (one,) = site.sandbox.resources("DiagnosticReport")
    there = [b64decode(it["data"]).decode() for it in one.get("presentedForm", ())]
    assert (one.get("conclusion", ""), "".join(there)) == expected


# The reports that come in turn, each with its comment and document -> how the last one ended; the status of the report.
REWRITTEN = [
    pytest.param([("F GLU 5.5", "", ""), ("F GLU 5.5", "clotted", "")], "delivered", "amended", id="a comment"),
    pytest.param([("F GLU 5.5", "", "one"), ("F GLU 5.5", "", "two")], "delivered", "amended", id="a document"),
    pytest.param(
        [("F GLU 5.5", "", "one"), ("F GLU 5.5", "", "two"), ("F GLU 5.5", "", "one")], "ECHO", "amended", id="memory"
    ),
    pytest.param([("F GLU 5.5", "clotted", ""), ("F GLU 5.5", "clotted", "")], "ECHO", "final", id="the same"),
    pytest.param([("F GLU 5.5", "clotted", ""), ("F GLU 5.5", "", "")], "delivered", "final", id="no comment"),
    pytest.param([("F GLU 5.5", "", ""), ("F UREA 4.0", "clotted", "two")], "delivered", "final", id="another test"),
    pytest.param([("P GLU 5.5", "", "one"), ("F GLU 5.5", "", "two")], "delivered", "final", id="not yet final"),
    pytest.param([("C GLU 5.5", "", "one"), ("C GLU 5.5", "", "two")], "delivered", "corrected", id="corrected"),
]


@pytest.mark.parametrize(("told", "ended", "status"), REWRITTEN)
async def test_a_final_report_whose_comment_or_document_changes_says_so(
    site: RunningSite, told: list[tuple[str, str, str]], ended: str, status: str
) -> None:
    for result, comment, document in told:
        end = await say(site, result[0], result, comment=comment, document=document)
    assert (end, report(site)[0]) == (ended, status)


def words(site: RunningSite) -> dict[str, str]:
    """The lines of the text on the server: value -> status."""
    return {one["valueString"]: one["status"] for one in site.sandbox.resources("Observation") if "valueString" in one}


OLD = ("F TEXT carcinoma", "F TEXT invasive", "F TEXT poor")
# The second report of a text, what may come between -> how it ended, and what stands on the server.
SHORTER = [
    pytest.param((), ("C TEXT none", "C TEXT benign"), "RESULTS_GONE", id="corrected"),
    pytest.param((), ("F TEXT none", "F TEXT benign"), "RESULTS_GONE", id="changed"),
    pytest.param((("F NA 140",),), ("C TEXT none", "C TEXT benign"), "RESULTS_GONE", id="behind another test"),
    pytest.param((), ("C TEXT none",), "CORRECTS_UNKNOWN", id="one line"),
    pytest.param((), OLD[:2], "ECHO", id="said again in part"),
    pytest.param((), OLD[:1], "ECHO", id="one line said again"),
    pytest.param((), ("F NA 140", "F K 4.1"), "delivered", id="other tests"),
]


@pytest.mark.parametrize(("between", "told", "ended"), SHORTER)
async def test_no_line_of_an_earlier_text_stands_behind_a_shorter_one(
    site: RunningSite, between: tuple[tuple[str, ...], ...], told: tuple[str, ...], ended: str
) -> None:
    for one in (OLD, *between):
        assert await say(site, "F", *one) == "delivered"
    assert await say(site, "F", *told) == ended
    assert words(site) == {"carcinoma": "final", "invasive": "final", "poor": "final"}


async def test_texts_that_came_in_messages_of_their_own_are_no_lines_of_one(site: RunningSite) -> None:
    await say(site, "F", "F TEXT one")
    assert await say(site, "F", "F TEXT two") == "delivered"
    assert words(site) == {"two": "amended"}


async def test_a_person_lets_a_shorter_text_go_and_the_rest_is_withdrawn(site: RunningSite) -> None:
    await say(site, "F", *OLD)
    assert await say(site, "F", "C TEXT none", "C TEXT benign") == "RESULTS_GONE"
    ran = await site.labrelay("held", "release", "2", "--reason", "read again", "--yes")
    assert ran.code == ExitCode.OK, ran.err
    await site.settled()
    assert words(site) == {"none": "corrected", "benign": "corrected", "poor": "entered-in-error"}


async def test_a_text_of_as_many_lines_or_more_takes_the_place_of_the_earlier_one(site: RunningSite) -> None:
    await say(site, "F", *OLD)
    assert await say(site, "F", "C TEXT none", "C TEXT benign", "C TEXT seen", "C TEXT twice") == "delivered"
    assert words(site) == dict.fromkeys(("none", "benign", "seen", "twice"), "corrected")


# The reports of one test that come in turn, the last one -> how that ended.
SEVERAL = [
    pytest.param([("F T a", "F T b"), ("F T a", "F T b", "F T c")], ("C T x", "F T b"), "RESULTS_GONE", id="it grew"),
    pytest.param([("P T a", "P T b")], ("F T x",), "SAMPLE_UNKNOWN", id="preliminary"),
    pytest.param([("P T a", "P T b")], ("F T a",), "SAMPLE_UNKNOWN", id="one line is final"),
    pytest.param([("F T -", "F T a")], ("C T x",), "CORRECTS_UNKNOWN", id="a line was empty"),
    pytest.param([("F T a", "F T -", "F T b")], ("C T x", "C T -"), "CORRECTS_UNKNOWN", id="one is empty"),
    pytest.param([("F T a", "F T b")], ("C T N^none^L",), "CORRECTS_UNKNOWN", id="a code for a text"),
    pytest.param([("F T A^a^L", "F T B^b^L")], ("F T N^none^L",), "SAMPLE_UNKNOWN", id="codes"),
    pytest.param([("F T 5.5", "F T 6.6")], ("C T 6.0",), "CORRECTS_UNKNOWN", id="numbers"),
    pytest.param([("F T a 1", "F T b 2")], ("C T x 2",), "delivered", id="with a number of its own"),
    pytest.param([("F T 5.5", "F T 6.6")], ("D T 6.6",), "CORRECTS_UNKNOWN", id="the second is withdrawn"),
    pytest.param([("F T 5.5", "F T 6.6")], ("D T 5.5",), "CORRECTS_UNKNOWN", id="the first is withdrawn"),
]


@pytest.mark.parametrize("patient", ["4711", ""], ids=["named", "no patient"])
@pytest.mark.parametrize(("before", "told", "ended"), SEVERAL)
async def test_one_of_several_results_takes_no_other_ones_place(
    site: RunningSite, patient: str, before: list[tuple[str, ...]], told: tuple[str, ...], ended: str
) -> None:
    for one in before:
        assert await say(site, one[0][0], *one, patient=patient) == "delivered"
    assert await say(site, "F", *told, patient=patient) == ended


def culture(time: str, *organisms: str) -> list[str]:
    """A report of a culture, as it stands behind another one."""
    heads = [
        f"OBX|{place}|CWE|600-7^Bacteria^LN|{place}|{one}^{one}^L||||||F|||20260301{time}"
        for place, one in enumerate(organisms, 1)
    ]
    return ["OBR|2||S2|CULT^Culture^L|||20260301093000|||||||||||||||20260301120000||MB|F", *heads]


@pytest.mark.parametrize(
    ("before", "told", "ended"),
    [
        (("F GRAM cocci", "F GRAM chains", "F GRAM many"), ("C GRAM none", "C GRAM seen"), "RESULTS_GONE"),
        (("F GRAM cocci", "F GRAM chains", "F GRAM many"), ("C GRAM none",), "CORRECTS_UNKNOWN"),
        (("F K 5.5",), ("F K 5.5", "C K 4.4"), "CORRECTS_UNKNOWN"),
    ],
    ids=["a shorter text", "one line", "a correction and its result"],
)
async def test_a_culture_beside_it_excuses_nothing(
    site: RunningSite, before: tuple[str, ...], told: tuple[str, ...], ended: str
) -> None:
    assert await say(site, "F", *before, beside=culture("093000", "ECO")) == "delivered"
    assert await say(site, "C", *told, beside=culture("094000", "ECO", "SAU")) == ended
