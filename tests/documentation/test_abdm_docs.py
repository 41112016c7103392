"""docs/abdm-going-live.md: each test that it names is there, each row has a state. docs/abdm.md: its trial works."""

import ast
import asyncio
import json
import re
from pathlib import Path

import aiohttp
import pytest

from engine.commands.shared.output import ExitCode
from tests.documentation.test_docs import CHECKOUT, EXAMPLES, read
from tests.support.command_line import labrelay
from tests.support.ports import quiet_ports
from tests.support.running import running_app
from tests.support.sites import make_site
from tests.support.waiting import until
from workbench.abdm import AbdmSandbox

PAGE = read("abdm-going-live.md")


def named() -> set[str]:
    return set(re.findall(r"`(test_\w+)`", PAGE))


def test_each_test_that_the_page_names_exists() -> None:
    there = {
        node.name
        for path in (CHECKOUT / "tests").rglob("*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert len(named()) > 60
    assert named() - there == set()


def rows(heading: str) -> list[list[str]]:
    """The cells of all tables below a heading, without their headings."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in lines
        if not line.endswith((" by |", " test |"))
    ]


def test_each_case_of_nha_has_a_state_and_each_that_is_done_a_test() -> None:
    cases = rows("NHA's test cases")
    assert len(cases) > 20
    for case, state, by in cases:
        assert state in ("done", "not ours", "open"), case
        assert ("`test_" in by) == (state == "done"), case


def test_each_flow_and_each_fault_has_a_test() -> None:
    assert len(rows("Flows and faults")) > 35
    for what, result, test in rows("Flows and faults"):
        assert result, what
        assert "`test_" in test, what


@pytest.mark.parametrize("name", ["notice", "leaflet"])
def test_a_sample_for_patients_says_that_it_is_one(name: str) -> None:
    text = (CHECKOUT / "config" / "abdm" / f"{name}.md").read_text(encoding="utf-8")
    assert text.startswith("<!-- A sample")
    assert "lawyer" in text.partition("-->")[0]
    english, line, hindi = text.partition("\n---\n")
    assert line
    assert not re.search(r"[\u0900-\u097f]", english)
    devanagari = len(re.findall(r"[\u0900-\u097f]", hindi))
    assert devanagari > 0.6 * len(re.findall(r"[^\W\d_]", hindi))
    # the same paragraphs, rows and steps in both
    for mark in (r"^\d\. ", r"^\| ", r"^\*\*", r"^# "):
        assert len(re.findall(mark, english, re.MULTILINE)) == len(re.findall(mark, hindi, re.MULTILINE)), mark


async def test_the_trial_of_the_page_works_as_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On other ports: those of the page may be taken here."""
    trial = read("abdm.md").partition("### A trial from a new folder")[2].partition("\n### ")[0]
    monkeypatch.setenv("ABDM_CLIENT_SECRET", re.findall(r"ABDM_CLIENT_SECRET=([^`]*)`", trial)[0])
    sandbox = AbdmSandbox()
    await sandbox.start()
    ports = dict(zip(("8580", "8590", "2575"), map(str, quiet_ports(3)), strict=True))
    ports["8585"] = sandbox.url.rpartition(":")[2]

    def here(text: str) -> str:
        return re.sub("|".join(ports), lambda found: ports[found[0]], text)

    files = {name: here(text) for name, text in EXAMPLES["docs/abdm.md"]}
    channel = {"chemistry.yaml": files["channels/chemistry.yaml"]}
    site = make_site(tmp_path, site=files["config/labrelay.yaml"], channels=channel)
    report = tmp_path / "meera.hl7"
    report.write_text(re.findall(r"^```text\n(MSH.*?)^```", trial, re.MULTILINE | re.DOTALL)[0], encoding="utf-8")
    grant, pull = (json.loads(body) for body in re.findall(r"-d '({.*?})'", trial))
    state = sandbox.state
    try:
        async with running_app(site), aiohttp.ClientSession() as http:
            for command in (
                ("abdm", "preflight", "--set-url", "--yes"),
                ("send", str(report), here(re.findall(r"mllp://[0-9.:]+", trial)[0])),
            ):
                ran = await asyncio.to_thread(labrelay, *command, site=site)
                assert ran.code == ExitCode.OK, ran.out + ran.err
            await until(lambda: bool(state.notices))
            async with http.post(f"{sandbox.url}/app/grant", json=grant) as answer:
                consent = state.consents[(await answer.json())["consentId"]]
            await until(lambda: bool(consent.acknowledged))
            async with http.post(f"{sandbox.url}/app/pull", json=pull | {"consentId": consent.id}) as answer:
                transfer = state.transfers[(await answer.json())["transactionId"]]
            await until(lambda: transfer.state == "done")
            assert len(state.documents) == 1
            assert sandbox.violations == []
    finally:
        await sandbox.stop()
