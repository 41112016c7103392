"""An analyzer that waits for an answer to each of ENQ, STX, ETX and EOT, over a socket."""

import asyncio
from pathlib import Path

from tests.support.running import ASTM, astm_channel, running_site

SAMPLE = Path(__file__).parents[3] / "samples" / "snibe_maglumi" / "01-immunoassay.astm"


async def test_each_sign_is_acknowledged_and_the_message_arrives_once(tmp_path: Path) -> None:
    channels = {"maglumi": astm_channel(source={**ASTM, "answer_stx": True}, analyzer="snibe-maglumi")}
    async with running_site(tmp_path, channels) as site:
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port("maglumi"))
        for part in (b"\x05", b"\x02", SAMPLE.read_bytes() + b"\x03", b"\x04"):
            writer.write(part)
            assert await asyncio.wait_for(reader.read(9), 10.0) == b"\x06", part[:1]
        writer.close()
        await site.settled()

        assert site.ends() == ["delivered"]
        (bundle,) = site.bundles(site.messages()[0].id)
        kinds = [entry["resource"] for entry in bundle["entry"]]
        tubes = [one["identifier"][0]["value"] for one in kinds if one["resourceType"] == "Specimen"]
        assert tubes == ["2603050412", "2603050413"]
