"""Sites for tests: a folder with as little in it as makes it valid."""

from pathlib import Path

SITE_YAML = """\
site: {name: Test Lab, timezone: Asia/Kolkata}
destinations:
  archive: {kind: file, folder: var/archive}
"""
CHANNEL_YAML = """\
channel: haematology
source: {kind: mllp, listen: "127.0.0.1:0"}
routes:
  - when: =MSH-9.1 == 'ORU'
    mapping: results
    to: archive
"""
MAPPING_YAML = """\
mapping: results
format: labrelay-mapping/1
from: hl7v2/ORU_R01
to: fhir/R4
bundle: transaction
steps:
  - create: Organization
    when: =MSH-4.1
    key: =MSH-4.1
    request: create_if_none
    body:
      name: =MSH-4.1
"""


def make_site(
    folder: Path,
    *,
    site: str = SITE_YAML,
    channels: dict[str, str] | None = None,
    mapping: str = MAPPING_YAML,
    answered: bool = False,
) -> Path:
    """Write a site and return its folder.

    Args:
        channels: name of the file -> content.
        answered: it says, in a last line, that patient numbers last.
    """
    site += "patient_numbers: lasting\n" if answered else ""
    for name in ("config", "channels", "mappings"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "config" / "labrelay.yaml").write_text(site, encoding="utf-8")
    (folder / "mappings" / "results.yaml").write_text(mapping, encoding="utf-8")
    for name, text in ({"haematology.yaml": CHANNEL_YAML} if channels is None else channels).items():
        (folder / "channels" / name).write_text(text, encoding="utf-8")
    return folder
