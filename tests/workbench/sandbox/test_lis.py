"""The laboratory system of the sandbox: its orders, and how it reads what it is told."""

import asyncio
from datetime import datetime

from engine.model.texts.units import HostPort
from workbench.sandbox.lis import Lis, LisOrder, OrderAnswer, message, play, read_answer

AT = datetime(2026, 3, 2, 8, 0)
VT, END = b"\x0b", b"\x1c\r"
TSH = LisOrder("LIS-1", "00042", "TSH", "SIM-7", stat=True)
FT4 = LisOrder("LIS-2", "00042", "FT4", "SIM-7")


def test_it_orders_each_test_under_a_number_of_its_own() -> None:
    for kind in ("ORM", "OML"):
        rows = message(kind, "C1", [TSH, FT4], "new", AT).decode().split("\r")
        assert rows[0].split("|")[8] == {"ORM": "ORM^O01^ORM_O01", "OML": "OML^O21^OML_O21"}[kind]
        assert [row.split("|")[1:3] for row in rows if row.startswith("ORC|")] == [["NW", "LIS-1"], ["NW", "LIS-2"]]
        orders = [row.split("|") for row in rows if row.startswith("OBR|")]
        assert [(row[2], row[3], row[4], row[27]) for row in orders] == [
            ("LIS-1", "00042", "TSH", "^^^^^S"),
            ("LIS-2", "00042", "FT4", "^^^^^R"),
        ]
    assert [row for row in rows if row.startswith("SPM|")] == ["SPM|1|00042||SER^Serum^HL70487"] * 2


def test_an_answer_names_each_order() -> None:
    said = "MSH|^~\\&|LABRELAY\rMSA|AA|C1\rORC|OK|LIS-1\rOBR|1\rORC|UA|LIS-2^LIS\r"
    assert read_answer(said.encode()) == OrderAnswer("AA", {"LIS-1": "OK", "LIS-2": "UA"})
    assert read_answer(b"what?") == OrderAnswer("")


async def test_it_orders_and_cancels_and_waits_behind_a_commit_accept() -> None:
    came: list[bytes] = []
    ended = asyncio.Event()

    async def host(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                block = (await reader.readuntil(END)).strip(VT + END)
            except asyncio.IncompleteReadError:
                break
            came.append(block)
            orders = [row.split(b"|") for row in block.split(b"\r") if row.startswith(b"ORC|")]
            said = b"".join(b"ORC|" + {b"NW": b"OK", b"CA": b"CR"}[row[1]] + b"|" + row[2] + b"\r" for row in orders)
            writer.write(VT + b"MSA|CA|1\r" + END + VT + b"MSA|AA|1\r" + said + END)
        writer.close()
        await writer.wait_closed()
        ended.set()

    server = await asyncio.start_server(host, "127.0.0.1", 0)
    async with server:
        said: list[str] = []
        lis = Lis(HostPort("127.0.0.1", server.sockets[0].getsockname()[1]), say=said.append)
        await play(lis, ["TSH", "FT4"], tubes=4, cancels=1.0, rate=0, seed=7, at=lambda: AT)
        await lis.close()
        await ended.wait()

    assert len(came) == 8
    assert lis.counts["answered AA"] == 8
    assert lis.counts["cancel: CR"] == 4
    assert lis.counts["new: OK"] == sum(block.count(b"ORC|NW") for block in came)
    assert all(" OK" in line or " CR" in line for line in said)
