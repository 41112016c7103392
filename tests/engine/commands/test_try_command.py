"""`labrelay try` as its users start it: it says its address, serves, and ends when told; faults are said first."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.devtools.playground.samples import Samples, sample_folders
from tests.engine.devtools.playground.test_trial import LIBRARY, MAPPING
from tests.support.command_line import labrelay
from tests.support.mapping_texts import HL7

CHECKOUT = Path(__file__).parents[3]


@contextmanager
def trying(folder: Path, *arguments: str) -> Iterator[str]:
    """The address of a running page."""
    command = [sys.executable, "-m", "engine", "try", *arguments]
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "LABRELAY_SITE": ""}
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            address = process.stdout.readline().strip()
            assert address.startswith("http://127.0.0.1:"), address
            yield address
        finally:
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=120)
        assert process.returncode == 0
        assert "Doe" not in said


def read(address: str) -> str:
    with urllib.request.urlopen(address, timeout=120) as answer:
        text: str = answer.read().decode()
        return text


def test_it_serves_a_mapping_and_a_message_and_ends(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(MAPPING, encoding="utf-8")
    (tmp_path / "lib.yaml").write_text(LIBRARY, encoding="utf-8")
    (tmp_path / "m.hl7").write_text(HL7, encoding="utf-8")
    with trying(tmp_path, "small.yaml", "m.hl7") as address:
        start = json.loads(read(f"{address}start.json"))
        assert (start["mapping"], start["channel"], start["messages"][0]["text"]) == ("small.yaml", "", HL7)
        assert "<textarea" in read(address)
    with trying(tmp_path, "m.hl7") as address:  # a message alone
        start = json.loads(read(f"{address}start.json"))
        assert (start["mapping"], start["messages"][0]["text"]) == ("", HL7)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("no-such.yaml",), "no-such.yaml: there is no such file"),
        (("no-such.hl7",), "no-such.hl7: there is no such mapping or file"),
        (("hl7-result",), "did you mean hl7-results?"),
        (("--listen", "0.0.0.0:0"), "0.0.0.0 can be reached from other machines"),
        (("--channel", "nothing"), "no channel is called nothing"),
        (("--samples", "no-such-folder"), "no-such-folder"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_served(arguments: tuple[str, ...], words: str) -> None:
    ran = labrelay("try", *arguments, site=CHECKOUT)
    assert ran.code in (2, 3)
    assert words in ran.err


def test_messages_to_choose_from_are_the_channels_first(tmp_path: Path) -> None:
    for name in ("given/a.hl7", "site/samples/chem/b.hl7", "ours/sysmex_xn/c.astm", "ours/other/d.astm"):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text("x", encoding="utf-8")
    site, ours = tmp_path / "site", tmp_path / "ours"
    found = sample_folders(site, "chem", "sysmex-xn", (tmp_path / "given",), ours)
    assert found.names() == [("0/a.hl7", "given/a.hl7"), ("1/b.hl7", "chem/b.hl7"), ("2/c.astm", "sysmex_xn/c.astm")]
    assert [shown for _, shown in sample_folders(None, "", "", (), ours).names()] == [
        "other/d.astm",
        "sysmex_xn/c.astm",
    ]
    assert sample_folders(site, "nothing", "", (), ours) == Samples(())
