"""Each thing that is declared has a sample, so that a change of it shows in a clone of the repository alone.

Dialogues have a test of their own (`test_order_dialogues.py`).
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from adapters.codecs.astm.dialogue import dialogue as astm_dialogue
from engine.config import registry
from engine.config.layouts import layout_files
from engine.config.pack import find_pack, packs
from tests.documents.test_order_dialogues import FOLDER as DIALOGUES
from tests.support.samples import sample_files
from tests.support.shipped import MAPPINGS

WITH_MESSAGES = {sample.path.parent for sample in sample_files("hl7v2", "astm", "text")}
ABDM = sorted(MAPPINGS.glob("abdm-*.yaml"))


def declared(key: str) -> set[str]:
    """What settings of folders with messages name, also by their pack."""
    found = set()
    for folder in WITH_MESSAGES:
        channel = yaml.safe_load((folder / "settings.yaml").read_text(encoding="utf-8"))
        if "analyzer" in channel:
            find_pack(channel["analyzer"]).fill(channel)
        found.add(channel.get(key))
    return found - {None}


def test_each_pack_has_a_sample() -> None:
    assert {pack.name for pack in packs()} <= declared("analyzer"), "a folder of samples/ names each under analyzer:"


def test_each_layout_has_a_sample() -> None:
    assert set(layout_files(None)) <= declared("layout"), "a folder of samples/ names each under layout:"


def test_each_dialect_has_a_sample() -> None:
    """A message; of one that has no pack, which only asks, its question."""
    asking = {yaml.safe_load(path.read_text(encoding="utf-8")).get("dialect") for path in DIALOGUES.glob("*.yaml")}
    assert {one for one in registry.dialects() if one not in declared("dialect")} <= asking
    assert {one for one in registry.dialects() if astm_dialogue(one)} <= asking


@pytest.mark.parametrize("mapping", ABDM, ids=lambda path: path.stem)
def test_each_kind_of_document_of_abdm_has_a_sample(mapping: Path) -> None:
    given = yaml.safe_load(mapping.read_text(encoding="utf-8"))
    written = {url for _, url in _profiles(mapping.stem)}
    assert set(given["profiles"].values()) == written, "a message in samples/ is missing that becomes it"


def _profiles(mapping: str) -> Iterator[tuple[str, str]]:
    """The profiles that documents of a mapping claim, by the name of the sample."""
    for sample in sample_files():
        channel = yaml.safe_load((sample.path.parent / "settings.yaml").read_text(encoding="utf-8"))
        if channel["mapping"] == mapping:
            document = json.loads(sample.path.with_suffix(".expected.json").read_text(encoding="utf-8"))
            for resource in (document, *(entry["resource"] for entry in document["entry"])):
                yield from ((sample.name, url) for url in resource.get("meta", {}).get("profile", ()))
