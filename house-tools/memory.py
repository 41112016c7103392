"""Memory of the daemon's process group under large messages. Run from the worktree: .venv/bin/python memory.py [RESULTS ...]"""
import asyncio, os, re, shutil, sys, tempfile, time, random
from pathlib import Path
sys.path.insert(0, os.getcwd())
from tests.support.live import Daemon, Server
MiB = 1024 * 1024
AFTER = float(os.environ.get("AFTER", "75"))


def group(pid):
    kids = {}
    for p in Path("/proc").glob("[0-9]*"):
        try:
            s = (p / "stat").read_text(); kids.setdefault(int(s.rsplit(")", 1)[1].split()[1]), []).append(int(p.name))
        except OSError: pass
    found, todo = [], [pid]
    while todo:
        one = todo.pop(); found.append(one); todo += kids.get(one, [])
    return found


def measure(pid):
    out = {}
    for one in group(pid):
        try:
            t = Path(f"/proc/{one}/smaps_rollup").read_text(); c = Path(f"/proc/{one}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            out[one] = (int(re.search(r"^Pss:\s+(\d+)", t, re.M)[1]) / 1024, int(re.search(r"^Rss:\s+(\d+)", t, re.M)[1]) / 1024, "worker" if "runtime.worker" in c else "daemon" if " run" in c else c[:40])
        except (OSError, TypeError): pass
    return out


class Sampler:
    def __init__(self, pid): self.pid, self.peak, self.at_peak, self.on = pid, 0, {}, True
    def reset(self): self.peak, self.at_peak = 0, {}
    async def run(self):
        while self.on:
            m = await asyncio.to_thread(measure, self.pid); total = sum(v[0] for v in m.values())
            if total > self.peak: self.peak, self.at_peak = total, m
            await asyncio.sleep(0.03)


def hl7(ch, n, results, size=0):
    r = random.Random(n * 1000 + ch); pad = "T" * max(0, size // results - 48)
    head = f"MSH|^~\\&|AN|LAB|LIS|H|20261126||ORU^R01|B{ch:03d}-{n:08d}|P|2.5.1\rPID|1||{777+n}||A^B\rOBR|1||B{ch:03d}-{n:08d}|GLU^Glucose^L\r"
    return (head + "".join(f"OBX|{i}|NM|{r.randrange(10**7)}^G{pad}^L||{r.random()*9:.1f}|mmol/L|||||F\r" for i in range(1, results + 1))).encode()


async def send_mllp(port, msg):
    rd, wr = await asyncio.open_connection("127.0.0.1", port)
    wr.write(b"\x0b" + msg + b"\x1c\r"); a = await asyncio.wait_for(rd.readuntil(b"\x1c\r"), 120); wr.close()
    return a.split(b"MSA|")[1][:2].decode()


async def send_astm(port, n, results):
    rd, wr = await asyncio.open_connection("127.0.0.1", port)
    recs = [b"H|\\^&|||AN|||||||P|E 1394-97|20261126\r", b"P|1||%d\r" % n, b"O|1|B002-%08d||^^^GLU|R\r" % n]
    recs += [b"R|%d|^^^%d|%d.%d|mmol/L||N||F\r" % (i, random.randrange(10**7), i % 9, i % 7) for i in range(1, results + 1)] + [b"L|1|N\r"]
    async def ask(d): wr.write(d); return await asyncio.wait_for(rd.readexactly(1), 60)
    assert await ask(b"\x05") == b"\x06"
    for i, rec in enumerate(recs, 1):
        b = b"%d" % (i % 8) + rec + b"\x03"; assert await ask(b"\x02" + b + b"%02X\r\n" % (sum(b) % 256)) == b"\x06"
    wr.write(b"\x04"); await wr.drain(); wr.close(); return "ACK"


def show(m): return " + ".join(f"{v[2]} {v[0]:.0f}" for v in m.values())


async def main():
    results = [int(a) for a in sys.argv[1:]] or [22000]
    server = Server(most_bytes=1 << 30); await server.start()
    folder = Path(tempfile.mkdtemp(dir="/tmp")) / "site"
    d = Daemon(folder, ["mllp", "mllp", "astm"], f'{{kind: fhir, url: "http://127.0.0.1:{server.port}/fhir"}}', interpreter=True, workers=int(os.environ.get("WORKERS", "0")))
    try:
        await d.start(); await asyncio.sleep(8)
        s = Sampler(d.pid); t = asyncio.create_task(s.run())
        def settled():
            import sqlite3
            c = sqlite3.connect(f"file:{folder}/var/journal.db?mode=ro", uri=True)
            try: return c.execute("select count(*), sum(state is not null) from messages").fetchone()
            finally: c.close()
        async def wave(name, sends):
            before = sum(v[0] for v in measure(d.pid).values()); s.reset(); t0 = time.monotonic(); got0 = sum(map(len, server.arrived.values()))
            said = await asyncio.gather(*sends)
            while time.monotonic() - t0 < 150:
                if sum(map(len, server.arrived.values())) - got0 >= len(said): break
                await asyncio.sleep(0.1)
            took = time.monotonic() - t0; peak = s.peak; at = show(s.at_peak)
            await asyncio.sleep(AFTER)
            m = measure(d.pid)
            print(f"{name}: before {before:.0f}, peak {peak:.0f} ({at}), after {AFTER:.0f} s {sum(v[0] for v in m.values()):.0f} ({show(m)}); {took:.1f} s, said {set(said)}, arrived {sum(map(len, server.arrived.values()))-got0} of {len(said)}", flush=True)
        n = 0
        for r in results:
            n += 1; await wave(f"HL7 1 x {r}", [send_mllp(d.port_of[0], hl7(0, n, r))])
        if os.environ.get("FULL"):
            n += 1; await wave("ASTM 1 x 22000", [send_astm(d.port_of[2], n, 22000)])
            n += 1; await wave("HL7 12 MB, 22000 OBX", [send_mllp(d.port_of[0], hl7(0, n, 22000, 12_000_000))])
            base = n + 1; await wave("flood: 2 x 4 HL7 + 2 ASTM of 22000", [*(send_mllp(d.port_of[c], hl7(c, base + k, 22000)) for c in (0, 1) for k in range(4)), *(send_astm(d.port_of[2], base + k, 22000) for k in range(2))])
    finally:
        s.on = False
        await d.end(); await server.stop()
        shutil.rmtree(folder.parent, ignore_errors=True)
asyncio.run(main())
