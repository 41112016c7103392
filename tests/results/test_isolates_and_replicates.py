"""Isolates of a culture, replicates and reruns of a tube, live: none takes another's place without a word."""

from pathlib import Path

import pytest

from tests.results.test_identity import Analyzer
from tests.support.running import astm_channel, running_site

APART, RUNS = {"test_code": "4/O-3.2"}, {"observation_key": "+R-13"}


def isolate(number: int | str, call: str) -> list[str]:
    return [f"O|1|M7^{number}||^^^AST", f"R|1|^^^AMP|{call}|||||F||||20260302091500"]


def panel(number: int | str, *figures: str, unit: str = "ug/mL") -> list[str]:
    """Concentrations of drugs without S, I or R."""
    drugs = zip(("AMP", "CIP", "GEN"), figures, strict=False)
    results = [f"R|{at}|^^^{drug}|{sent}|{unit}||||F||||20260302091500" for at, (drug, sent) in enumerate(drugs, 1)]
    return [f"O|1|M7^{number}||^^^AST", *results]


def replicate(number: int, figure: str, minute: int = 15) -> list[str]:
    return ["O|1|S9||^^^GLU", f"R|1|^^^GLU^^{number}|{figure}|mmol/L||||F||||202603020{900 + minute}00"]


def message(*records: str) -> bytes:
    return "\r".join(["H|\\^&|||RX-9|||||||P|1|20260302092000", "P|1||P77", *records, "L|1|N", ""]).encode()


FIRST, SECOND = isolate(1, "S"), isolate(2, "R")
SCENES = {
    "isolates": (APART, [FIRST, SECOND], ["delivered"] * 2, ["AMP/1 S 1 final", "AMP/2 R 1 final"]),
    "isolates of a message": (APART, [FIRST + SECOND], ["delivered"], ["AMP/1 S 1 final", "AMP/2 R 1 final"]),
    "isolates, not told": ({}, [FIRST, SECOND], ["delivered", "SAME_CODE"], ["AMP S 1 final"]),
    "the second first": ({}, [SECOND, FIRST], ["SAME_CODE", "delivered"], ["AMP S 1 final"]),
    "not told, of a message": ({}, [FIRST + SECOND], ["SAME_CODE"], []),
    "isolates by letters": ({}, [isolate("A", "S"), isolate("B", "R")], ["delivered", "SAME_CODE"], ["AMP S 1 final"]),
    "isolates of three digits": (
        {}, [isolate("001", "S"), isolate("002", "R")], ["delivered", "SAME_CODE"], ["AMP S 1 final"]
    ),
    "isolates by their organisms": ({}, [isolate("ECO", "S"), isolate("KPN", "R")], ["SAME_CODE"] * 2, []),
    "one, named anew": ({}, [isolate("1^ECO", "S"), isolate("1^KPN", "R")], ["delivered"] * 2, ["AMP R 2 amended"]),
    "bare concentrations": (
        {}, [panel(1, "<=2", "0.25", "8"), panel(2, ">=32", "4", "16")], ["delivered", "SAME_CODE"],
        ["AMP 2 1 final", "CIP 0.25 1 final", "GEN 8 1 final"],
    ),
    "levels of a drug on a rack": (
        {}, [panel(4, "5.1", "2.4", "7.7"), panel(5, "5.2")], ["delivered"] * 2,
        ["AMP 5.2 2 amended", "CIP 2.4 1 final", "GEN 7.7 1 final"],
    ),
    "figures of another unit": (
        {}, [panel(4, "4", "8", "2", unit="U/L"), panel(5, "8", unit="U/L")], ["delivered"] * 2,
        ["AMP 8 2 amended", "CIP 8 1 final", "GEN 2 1 final"],
    ),
    "racks and places": ({}, [isolate("0012^3", "S"), isolate("0014^5", "R")], ["delivered"] * 2, ["AMP R 2 amended"]),
    "places of a rack": ({"specimen": "O-3.1"}, [SECOND], ["delivered"], ["AMP R 1 final"]),
    "replicates of a message": (
        {}, [replicate(1, "5.1") + replicate(2, "9.1")[1:]], ["delivered"], ["GLU 5.1 1 final", "GLU 9.1 1 final"]
    ),
    "reruns": (
        RUNS, [replicate(1, "5.1"), replicate(1, "9.1", 16)], ["delivered"] * 2, ["GLU 5.1 1 final", "GLU 9.1 1 final"]
    ),
    "a rerun in the place of the first": (
        {}, [replicate(1, "5.1"), replicate(1, "9.1", 16)], ["delivered"] * 2, ["GLU 9.1 2 amended"]
    ),
}  # fmt: skip


@pytest.mark.parametrize("scene", SCENES)
async def test_none_takes_the_place_of_another_without_a_word(tmp_path: Path, scene: str) -> None:
    settings, sent, ends, shown = SCENES[scene]
    async with running_site(tmp_path, {"astm": astm_channel(settings=settings)}) as site:
        analyzer = Analyzer(site, "astm", "astm")
        for records in sent:
            await analyzer.put_on_the_line(message(*records))
        await site.settled()
        assert site.ends() == ends
        assert shown == sorted(
            f"{one['code']['text']} {one.get('valueString') or one['valueQuantity']['value']}"
            f" {one['meta']['versionId']} {one['status']}"
            for one in site.sandbox.resources("Observation")
        )
