"""No ABHA number or address is in a log, in the database's bytes, or in what a command shows without --unmask."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from tests.documents.test_abdm_documents import SETTINGS, STRUCTURED
from tests.support.running import running_site
from tests.support.senders import send_blocks

SECRETS = (b"91123456789", b"91-1234-5678", b"1234-5678", b"123456789", b"meera.rao", b"Meera")
SENT = {
    "delivered": STRUCTURED,
    "doubtful": STRUCTURED.replace(b"|7001|", b"|7002|").replace(b"91123456789015", b"91123456789012"),
    "BAD_VALUE": STRUCTURED.replace(b"|7001|", b"|7003|").replace(b"91123456789015", b"9112345678901"),
    "two": STRUCTURED.replace(b"|7001|", b"|7004|").replace(b"^HIN~", b"^HIN~91-1234-5678-9023^^^NDHM^HIN~"),
    "no address": STRUCTURED.replace(b"|7001|", b"|7005|").replace(b"meera.rao@abdm", b"meera.rao"),
}
READ = (
    ("messages", "list"),
    ("dlq", "list"),
    ("held", "list"),
    ("held", "persons"),
    ("status",),
    ("audit", "list"),
    ("journal", "stats"),
    ("gaps",),
    *((verb, "show", str(number)) for verb in ("messages", "dlq") for number in range(1, len(SENT) + 1)),
    *(("explain", str(number), "--mapping", "abdm-report") for number in range(1, len(SENT) + 1)),
)


def channel(folder: Path) -> dict[str, Any]:
    return {
        "source": {"kind": "mllp", "listen": "127.0.0.1:0"},
        "settings": {name: str(said) for name, said in SETTINGS.items()},
        "routes": [{"mapping": "abdm-report", "to": "records"}],
    }


async def test_nothing_shows_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    folder, out = tmp_path / "site", tmp_path / "records"
    records = {"records": {"kind": "file", "folder": str(out)}}
    shown: list[str] = []
    async with running_site(folder, {"lab": channel(folder)}, records) as site:
        answers = await send_blocks(site.port("lab"), SENT.values())
        assert len(answers) == len(SENT)
        await site.settled()
        assert site.ends().count("BAD_VALUE") == 3
        for words in READ:
            for form in ([], ["-o", "json"]) if "show" in words else (["-o", "json"],):
                ran = await site.labrelay(*words, *form)
                shown.append(f"{words}: {ran.out}{ran.err}")
        revealed = await site.labrelay("messages", "show", "1", "--unmask", "--purpose", "a call")
        assert "meera.rao@abdm" in revealed.out
    texts = [one.encode() for one in (*shown, *(record.getMessage() + repr(vars(record)) for record in caplog.records))]
    texts += [path.read_bytes() for path in sorted((folder / "var").rglob("*")) if path.is_file()]
    assert any(b"ABHA_CHECK_DIGIT" in one for one in texts), "the warning is shown"
    for text in texts:
        assert not [secret for secret in SECRETS if secret in text], text[:300]
    given = b"".join([path.read_bytes() for path in await asyncio.to_thread(lambda: sorted(out.rglob("*.json")))])
    assert b"91-1234-5678-9015" in given, "the document itself has them"
