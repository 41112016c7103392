"""`labrelay bench --scenario page`: readers of the page and of the API beside messages, of which none is lost."""

from pathlib import Path

from engine.commands.shared.output import ExitCode
from tests.support.command_line import labrelay


def test_readers_are_measured_beside_messages(tmp_path: Path) -> None:
    ran = labrelay("bench", "--scenario", "page", "--history", "300", "--seconds", "2", "--rounds", "1",
                   "--data", str(tmp_path), "-o", "json")  # fmt: skip

    assert ran.code == ExitCode.OK, ran.err
    (case,) = ran.json["cases"]
    assert (case["channels"], case["history"], case["lost"], case["reordered"]) == (500, 300, 0, 0)
    assert case["messages"] == 2 * 2 * 500
    reads = {read["name"]: read for read in case["reads"]}
    assert list(reads) == ["overview", "messages", "search", "API status", "API messages"]
    assert all(read["requests"] > 0 for read in reads.values())
    statuses = set().union(*(read["statuses"] for read in reads.values()))
    assert statuses <= {"0", "200", "304", "503"}  # on a busy machine some wait too long
    assert {"200", "304"} <= reads["overview"]["statuses"].keys()
    assert list(tmp_path.iterdir()) == []
