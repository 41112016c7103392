"""A critical value whose flag goes, and whose number stays: nothing says why, so its alert does.

A changed range, a mistake, a rerun by a person: the sender tells none of them, and the doctor was told a number that is
still there. A person takes the alert.
"""

from pathlib import Path

import pytest

from tests.results import test_critical_succession as succession
from tests.results.test_critical_succession import HIGH, RIGHT, Scene

LOST = "C K 7.9 H 0915"
SCENES = {
    "corrected": Scene((HIGH, LOST), (1,)),
    "to normal": Scene((HIGH, "C K 7.9 N 0915"), (1,)),
    "changed without a word": Scene((HIGH, "F K 7.9 H 0915"), (1,)),
    "the final of a preliminary one": Scene(("P K 7.9 HH 0915", "F K 7.9 H 0915"), (1,)),
    "run again": Scene((HIGH, "F K 7.9 H 0940"), (1,)),
    "with another number of digits": Scene((HIGH, "C K 7.90 H 0915"), (1,)),
    "in words": Scene(("F GRAM cocci AA 0915", "C GRAM Cocci A 0915"), (1,)),
    "twice": Scene((HIGH, LOST, "C K 7.9 N 0915"), (1,)),
    "and comes back": Scene((HIGH, LOST, "C K 7.9 HH 0915"), (1,)),
    "with a restart": Scene((HIGH, "restart", LOST), (1,)),
    "at one server alone": Scene((HIGH, LOST), (1,), second={"when": "=MSH-10 != 'M2'"}),
    "one server refuses it": Scene((HIGH, "422", LOST), (1,)),
    "the value was away": Scene(("away", HIGH, LOST, "back"), (1,)),
    "then the number goes": Scene((HIGH, LOST, RIGHT), words="message 1 is critical no more: message 3 says another"),
    "then it is withdrawn": Scene((HIGH, LOST, "D K 7.9 H 0915")),
    "and a person takes it": Scene((HIGH, LOST, "take 1")),
    "a person has taken it": Scene((HIGH, "take 1", LOST)),
    "the number in another unit": Scene((HIGH, "C K 7.9 N 0915 SERUM mg/L")),
    "withdrawn with its number": Scene((HIGH, "D K 7.9 H 0915")),
    "called off, and back without the flag": Scene((HIGH, RIGHT, LOST)),
    "one of two": Scene((f"{HIGH}, F NA 118 LL 0915", f"{LOST}, C NA 138 N 0915"), (1,)),
}  # fmt: skip


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
async def test_its_alert_is_open_until_a_person_takes_it_or_the_number_goes(tmp_path: Path, scene: Scene) -> None:
    await succession.test_an_alert_is_open_while_a_receiver_shows_its_value(tmp_path, scene)
