"""What every message of the corpus and of the samples becomes, as one hash each: a program of its own, so that
processes can be compared.

    python -m tests.support.bundle_hashes forwards|backwards      prints JSON: message, mapping and way -> hash

Backwards takes the last message first, and explains none. Forwards also hashes each trace, and the Python that each
mapping is compiled to.

The hash is over everything that a mapping gives: documents, counts, warnings, unmapped codes, keys, or why it is dead.
"""

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from engine.commands.shared.mapping_options import BARE_OPTIONS
from engine.config.pack import find_pack
from engine.mapping.trying.inputs import FoundMessage, Mapper, own_time
from engine.model.errors import ContentError
from engine.model.message import MapContext, Mapped
from tests.support.corpus import corpus_files, payloads
from tests.support.loaded_once import shipped_mappings_once
from tests.support.shipped import KEY, MAPPINGS, program, verdict_of
from workbench.bench.mapping_case import shipped_mappings

SAMPLES = Path(__file__).parents[2] / "samples"
FORMATS = {".hl7": "hl7v2", ".astm": "astm", ".txt": "text"}
PLAIN, TRACED, TRACE, CODE = "plain", "traced", "trace", "code"
WAYS = {1: (PLAIN, TRACED), -1: (PLAIN,)}
SETTINGS = {"processing_ids": ["T", "D"], "local_system": "urn:labrelay:codes:analyzer"}


def shown(mapped: Mapped) -> str:
    """All that was said, in a form that two processes can compare; `explain` alone tells notes."""
    told = [issue for issue in mapped.issues if issue.severity != "note"]
    return repr((mapped.documents, mapped.filtered, told, mapped.unmapped, mapped.counts))


def of_corpus(step: int) -> Iterator[tuple[str, str]]:
    """Each message through every shipped mapping that takes it. ``step``: 1, or -1 for the last one first."""
    reader = Mapper((), options=BARE_OPTIONS)
    programs = [program(name) for name in shipped_mappings([MAPPINGS])]
    for file in corpus_files()[::step]:
        for number, payload in [*enumerate(payloads(file), 1)][::step]:
            try:
                parsed = reader.read(FoundMessage(payload, file.format))
            except ContentError:
                continue
            context = MapContext(
                channel="analyzer",
                key=KEY,
                timezone="Asia/Kolkata",
                settings=SETTINGS,
                received_at=own_time(parsed, "Asia/Kolkata"),
                payload_hash=hashlib.sha256(payload).hexdigest(),
            )
            for each in programs:
                if each.format != file.format or parsed.structure not in each.structures:
                    continue
                for way in WAYS[step]:
                    name = f"{file.name} {number} {each.name}"
                    try:
                        if way == PLAIN:
                            mapped: Mapped | None = each.apply(parsed, context)
                        else:
                            trace = each.explain(parsed, context)
                            yield f"{name} {TRACE}", repr((trace.leaves, sorted(trace.rules), trace.unread))
                            mapped = trace.mapped
                            if trace.error is not None:
                                raise trace.error
                        assert mapped is not None
                        said = shown(mapped)
                    except ContentError as error:
                        said = f"{error.reason.value} {error.place} {error}"
                    yield f"{name} {way}", said


def of_samples(step: int) -> Iterator[tuple[str, str]]:
    """Each sample as its folder's channel maps it; ``step`` as above."""
    for path in sorted(SAMPLES.glob("*/*"))[::step]:
        if path.suffix not in FORMATS:
            continue
        channel = yaml.safe_load((path.parent / "settings.yaml").read_text(encoding="utf-8"))
        if "analyzer" in channel:
            find_pack(channel["analyzer"]).fill(channel)
        settings = channel["settings"] | ({"charset": channel["charset"]} if "charset" in channel else {})
        for way in WAYS[step]:
            verdict, mapped = verdict_of(
                path.read_bytes(),
                FORMATS[path.suffix],
                settings,
                timezone=channel["timezone"],
                channel=path.parent.name,
                explained=way == TRACED,
                dialect=channel.get("dialect"),
                mapping=channel["mapping"],
                layout=channel.get("layout"),
            )
            said = shown(mapped) if mapped is not None else f"{verdict.state} {verdict.reason}"
            yield f"{path.parent.name}/{path.name} {way}", said


def of_code() -> Iterator[tuple[str, str]]:
    """The Python that each shipped mapping is compiled to, plain and traced."""
    for name in shipped_mappings([MAPPINGS]):
        each = program(name)
        for structure in each.structures:
            yield f"{name} {structure} {PLAIN} {CODE}", each.plain[structure].made.source
            yield f"{name} {structure} {TRACED} {CODE}", each.compile_traced(structure).made.source


def main() -> None:
    step = {"forwards": 1, "backwards": -1}[sys.argv[1]]  # what was met before must not matter
    found = [*of_samples(step), *of_corpus(step), *(of_code() if step == 1 else ())]
    print(json.dumps({name: hashed(said) for name, said in found}))


def hashed(said: str) -> str:
    """The class of a reason code was called `Reason` when the hashes were written; Python prints its name."""
    return hashlib.sha256(said.replace("ReasonCode.", "Reason.").encode()).hexdigest()


if __name__ == "__main__":
    with shipped_mappings_once():
        main()
