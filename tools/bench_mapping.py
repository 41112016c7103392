"""CPU time of parse, map and serialise for HL7 results that all differ.

    python tools/bench_mapping.py [--mapping hl7-results] [--folder mappings] [--results 20] [--messages 2000]

Every message has its own patient, numbers, times, values and ranges, so that nothing is answered from a cache that a
real feed would not fill. Time is process CPU time; each round goes through all messages once, the best round counts.
"""

import argparse
import gc
import random
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from engine.config import registry
from engine.mapping import load
from engine.model.message import FormatOptions, MapContext

ANALYTES = [
    ("6690-2", "Leukocytes", "10*3/uL", 1),
    ("789-8", "Erythrocytes", "10*6/uL", 2),
    ("718-7", "Hemoglobin", "g/dL", 1),
    ("4544-3", "Hematocrit", "%", 1),
    ("787-2", "MCV", "fL", 1),
    ("785-6", "MCH", "pg", 1),
    ("786-4", "MCHC", "g/dL", 1),
    ("777-3", "Platelets", "10*3/uL", 0),
    ("2345-7", "Glucose", "mg/dL", 0),
    ("2160-0", "Creatinine", "mg/dL", 2),
    ("2951-2", "Sodium", "mmol/L", 0),
    ("2823-3", "Potassium", "mmol/L", 1),
    ("2075-0", "Chloride", "mmol/L", 0),
    ("1742-6", "ALT", "U/L", 0),
    ("1920-8", "AST", "U/L", 0),
    ("6768-6", "ALP", "U/L", 0),
    ("1975-2", "Bilirubin", "mg/dL", 1),
    ("2885-2", "Protein", "g/dL", 1),
    ("1751-7", "Albumin", "g/dL", 1),
    ("2093-3", "Cholesterol", "mg/dL", 0),
]


def message(number: int, results: int, draw: random.Random) -> bytes:
    """One ORU^R01; no two are alike."""
    at = datetime(2026, 3, 1, 6, 0) + timedelta(seconds=41 * number)
    taken = at - timedelta(minutes=draw.randrange(20, 200))
    lines = [
        f"MSH|^~\\&|CHEM|LAB|LIS|HOSP|{at:%Y%m%d%H%M%S}||ORU^R01^ORU_R01|{number:08}|P|2.5.1",
        f"PID|1||{draw.randrange(10**7)}^^^HOSP^MR||Doe{number}^Jane||{draw.randrange(1930, 2020)}0412|F",
        f"ORC|RE|P{number}|F{number}",
        f"OBR|1|P{number}|F{number}|CHEM^Chemistry panel^L|||{taken:%Y%m%d%H%M%S}"
        f"|||||||||||||||{at:%Y%m%d%H%M%S}||LAB|F",
    ]
    for index in range(results):
        code, name, unit, digits = ANALYTES[index % len(ANALYTES)]
        low = draw.randrange(1, 200) / 10
        value = f"{draw.uniform(0, 30 * (digits + 1)):.{digits}f}"
        flag = draw.choice(["N", "N", "N", "H", "L"])
        done = at - timedelta(seconds=draw.randrange(600))
        lines.append(
            f"OBX|{index + 1}|NM|{code}^{name}^LN||{value}|{unit}|{low}-{low + draw.randrange(1, 90)}|{flag}|||F"
            f"|||{done:%Y%m%d%H%M%S}"
        )
    return ("\r".join(lines) + "\r").encode()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--mapping", default="hl7-results")
    arguments.add_argument("--folder", type=Path, default=Path(__file__).parents[1] / "mappings")
    arguments.add_argument("--results", type=int, default=20)
    arguments.add_argument("--messages", type=int, default=2000)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--profile", action="store_true")
    given = arguments.parse_args()

    draw = random.Random(7)
    payloads = [message(number, given.results, draw) for number in range(given.messages)]
    program = load(given.mapping, [given.folder])
    codec = registry.load(registry.FORMATS, "hl7v2")
    options = FormatOptions()
    context = MapContext(
        channel="chemistry",
        key=bytes(range(32)),
        timezone="Asia/Kolkata",
        received_at=datetime(2026, 3, 1, tzinfo=UTC),
        payload_hash="0" * 64,
        namespaces={"HOSP": "https://hosp.example/mrn"},
    )
    size = sum(len(program.apply(codec.parse(p, options), context).documents[0].body) for p in payloads[:50]) // 50
    if given.profile:
        import cProfile
        import pstats

        with cProfile.Profile() as profile:
            for payload in payloads:
                program.apply(codec.parse(payload, options), context)
        pstats.Stats(profile).sort_stats("tottime").print_stats(40)
        return
    best = {"parse": float("inf"), "parse and map": float("inf")}
    for _ in range(given.rounds):
        gc.collect()
        start = time.process_time()
        for payload in payloads:
            codec.parse(payload, options)
        parsed = time.process_time()
        for payload in payloads:
            program.apply(codec.parse(payload, options), context)
        done = time.process_time()
        best["parse"] = min(best["parse"], parsed - start)
        best["parse and map"] = min(best["parse and map"], done - parsed)
    for what, seconds in best.items():
        print(
            f"{what}: {seconds / len(payloads) * 1e6:.1f} us a message of {given.results} results, {size} bytes of JSON"
        )


if __name__ == "__main__":
    main()
