"""Slips of the finger: a name that no site has, a number that no message can have. Said, and never an empty list."""

from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from tests.support.command_line import labrelay
from tests.support.filled_journal import CHANNEL, fill_journal
from tests.support.sites import make_site

SPECIMEN = "2600471100112233445566"  # the number of a specimen where that of a message is wanted
YES = ("--yes",)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_site(tmp_path_factory.mktemp("site"))
    fill_journal(folder / "var")
    return folder


@pytest.mark.parametrize("name", ["--channel", "--destination"])
@pytest.mark.parametrize(
    "verb",
    [
        ("dlq", "list"),
        ("dlq", "list", "--each"),
        ("dlq", "list", "-o", "json"),
        ("dlq", "retry", *YES),
        ("dlq", "dismiss", "--reason", "x", *YES),
        ("held", "list"),
        ("held", "release", "--reason", "x", *YES),
        ("replay", *YES),
        ("replay", "--dry-run"),
    ],
)
def test_a_name_that_the_site_does_not_have_is_no_empty_list(site: Path, name: str, verb: tuple[str, ...]) -> None:
    ran = labrelay(*verb, name, "chmistry", site=site)
    assert (ran.code, ran.out) == (ExitCode.FAILED, "")
    assert f"there is no {name[2:]} chmistry" in ran.err


def test_a_channel_that_the_site_does_not_have_is_said_of_messages_too(site: Path, tmp_path: Path) -> None:
    ran = labrelay("messages", "list", "--channel", "chmistry", site=site)
    assert (ran.code, "there is no channel chmistry" in ran.err) == (ExitCode.FAILED, True)
    ran = labrelay("messages", "export", "--channel", "chmistry", "--to", str(tmp_path / "a.csv"), site=site)
    assert (ran.code, list(tmp_path.iterdir())) == (ExitCode.FAILED, [])
    ran = labrelay("messages", "list", "--channel", CHANNEL, "--type", "none", site=site)
    assert (ran.code, ran.err) == (ExitCode.OK, "no messages\n")


@pytest.mark.parametrize("number", [SPECIMEN, str(2**63 - 1), str(2**63)])
@pytest.mark.parametrize(
    "verb",
    [
        ("messages", "show"),
        ("messages", "list", "--id"),
        ("messages", "list", "--before"),
        ("dlq", "show"),
        ("dlq", "edit", "--reason", "x"),
        ("dlq", "retry", *YES),
        ("held", "show"),
        ("held", "reject", "--reason", "x", *YES),
        ("explain",),
        ("replay", *YES),
        ("erase", "--patient", "1", "--dry-run", "--message"),
        ("audit", "list", "--message"),
        ("reagents", "--message"),
    ],
)
def test_a_number_that_no_message_can_have_is_no_fault_inside(site: Path, verb: tuple[str, ...], number: str) -> None:
    ran = labrelay(*verb, number, site=site)
    assert ran.code == ExitCode.USAGE
    assert "no message has it" in ran.err


@pytest.mark.parametrize("since", ["99999999d", "0000-00-00", "2026-13-01"])
def test_a_time_that_is_none_is_said(site: Path, since: str) -> None:
    ran = labrelay("messages", "list", "--since", since, site=site)
    assert (ran.code, "is neither an age" in ran.err) == (ExitCode.USAGE, True)


@pytest.mark.parametrize("option", ["--patient", "--specimen"])
def test_a_number_that_is_asked_for_stands_in_no_history(
    site: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    asked: list[bool] = []

    def answer(_text: str, *, hide_input: bool, err: bool) -> str:
        asked.append(hide_input and err)
        return "no such number"

    monkeypatch.setattr("engine.commands.shared.selecting.click.prompt", answer)
    ran = labrelay("messages", "list", option, "-", site=site)
    assert (ran.code, asked, "no messages" in ran.err) == (ExitCode.OK, [True], True)
