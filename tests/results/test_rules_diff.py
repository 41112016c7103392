"""Two files of rules are asked about stored results, and say what a change would hold, as a model says it."""

import logging
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.commands.shared.output import ExitCode
from tests.results.test_critical_values import folder, send
from tests.results.test_holds_of_every_output import message
from tests.results.test_rules_counted import lab
from tests.support.running import MLLP, Json, RunningSite, channel, running_site

# Of each message: test, value, and the patient's; none of them is in what a diff says
SENT: list[Json] = [
    {"value": "4.0"},
    {"value": "6.5", "patient": "MR2"},
    {"value": "7.9", "patient": "MR3"},
    {"value": "clotted", "kind": "ST", "patient": "MR4", "range": ""},
    {"test": "NA", "value": "140", "range": ""},
    {"value": "4.9"},  # 0.9 above the first one's
]
HIGH = {"when": "=code == 'K' and value > 7", "name": "high"}
LOWER = {"when": "=code == 'K' and value > 6", "name": "high"}
JUMP = {"when": "=code == 'K' and (delta('7d') | 0) > 0.5", "name": "jump"}
ASKED = {"when": "=MSH-10 == 'M5'", "name": "that one"}
# name -> the rules before, those after; the changes: rule, shadow, test, change, places of messages
CASES: dict[str, tuple[list[Json], list[Json], list[tuple[str, bool, str, str, list[int]]]]] = {
    "nothing": ([HIGH], [HIGH], []),
    "a lower limit": ([HIGH], [LOWER], [("high", False, "K", "held now", [2])]),
    "a higher one": ([LOWER], [HIGH], [("high", False, "K", "held no more", [2])]),
    "words pass": ([HIGH], [HIGH | {"when": "=code == 'K' and value and value > 7"}],
                   [("high", False, "K", "held no more", [4])]),
    "a rule more, by the value before": ([HIGH], [HIGH, JUMP], [
        ("jump", False, "K", "held now", [6]),
    ]),
    "about the message": ([HIGH], [HIGH, ASKED], [("that one", False, "", "held now", [5])]),
    "a shadow more": ([HIGH], [HIGH, LOWER | {"name": "lower", "shadow": True}],
                      [("lower", True, "K", "held now", [2, 3, 4])]),
}  # fmt: skip


async def asked(site: RunningSite, old: Path, new: Path, *more: str) -> Any:
    ran = await site.labrelay("rules", "diff", str(old), str(new), *more, "-o", "json")
    assert ran.code == ExitCode.OK, ran.err
    return ran.json


def written(path: Path, rules: list[Json], **more: Any) -> Path:
    path.write_text(yaml.safe_dump({"channel": "lab", "hold": [dict(one) for one in rules], **more}))
    return path


async def test_what_a_change_would_hold(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept = {"when": "=(delta('7d') | 0) > 100", "name": "keeps values"}
    made = channel(MLLP, {"mapping": "hl7-results", "to": "files", "hold": [dict(kept)]})
    async with running_site(tmp_path / "site", {"lab": made}, folder(tmp_path)) as site:
        for number, said in enumerate(SENT, 1):
            await send(site, "oru", message("oru", number, said))
        numbers = [one.id for one in site.messages()]
        old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
        with caplog.at_level(logging.DEBUG):
            for name, (before, after, changes) in CASES.items():
                found = await asked(site, written(old, before), written(new, after))
                told = [
                    (
                        one["rule"],
                        one["shadow"],
                        one["test"],
                        one["change"],
                        [numbers.index(n) + 1 for n in one["numbers"]],
                    )
                    for one in found["changes"]
                ]
                assert told == changes, name
                assert (found["messages"], found["unread"]) == (len(SENT), 0)
                active = {change: set() for change in ("held now", "held no more")}
                for _, shadow, _, change, those in changes:
                    active[change] |= set() if shadow else set(those)
                held = {place for place in (3, 4) if before[0] is HIGH} | ({2, 3, 4} if before[0] is LOWER else set())
                assert {numbers.index(one) + 1 for one in found["now"]} == active["held now"] - held, name
                assert found["held_by_old"] == len(held)
        ran = await site.labrelay("rules", "diff", str(old), str(new))
    assert "6 messages, 0 more cannot be read; held by OLD: 2, by NEW: 2" in ran.err
    for line in (ran.out, ran.err, caplog.text):
        assert not any(one in line for one in ("MR3", "Iyer", "7.9", "clotted"))


async def test_a_channels_file_is_a_file_of_rules_and_only_the_time_asked_for_counts(tmp_path: Path) -> None:
    async with running_site(tmp_path / "site", {"lab": lab()}, folder(tmp_path)) as site:
        await send(site, "oru", message("oru", 1, {"value": "7.9"}))
        route = {"mapping": "hl7-results", "to": "files", "hold": [dict(HIGH)]}
        (tmp_path / "new.yaml").write_text(yaml.safe_dump({"channel": "lab", "routes": [route, {"to": "files"}]}))
        old = written(tmp_path / "old.yaml", [LOWER | {"when": "=value > 99"}])
        found = await asked(site, old, tmp_path / "new.yaml")
        assert [(one["rule"], one["change"]) for one in found["changes"]] == [("high", "held now")]
        found = await asked(site, old, tmp_path / "new.yaml", "--since", "2099-01-01")
        assert (found["messages"], found["changes"]) == (0, [])
        ran = await site.labrelay("rules", "diff", str(old), str(written(tmp_path / "x.yaml", [HIGH], channel="other")))
        assert "say --channel NAME" in ran.err
        wrong = written(tmp_path / "wrong.yaml", [{"when": "=valu > 7"}])
        ran = await site.labrelay("rules", "diff", str(old), str(wrong))
        assert ran.code == ExitCode.CONFIG
        assert "a rule knows no name 'valu'" in ran.err
