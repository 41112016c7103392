"""Write config/schema/*.json: JSON Schema for editors, of everything that a site's YAML can hold.

    python tools/generate_schemas.py            renew the files
    python tools/generate_schemas.py --check    only say which are out of date (exit code 1)

They complete keys, show what each means and mark slips while one types. `labrelay check` remains the judge: a schema
knows neither expressions nor other files. A test runs the check.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(CHECKOUT))

from engine.config.channel import ChannelConfig  # noqa: E402 - the checkout must be found first
from engine.config.pack import PackConfig  # noqa: E402
from engine.config.sitewide import SiteConfig  # noqa: E402
from tools import schema_of_tests, schema_of_texts, schema_words  # noqa: E402
from tools.schema_of_models import Models  # noqa: E402
from tools.schema_words import described  # noqa: E402

FOLDER = CHECKOUT / "config" / "schema"
DRAFT = "http://json-schema.org/draft-07/schema#"  # what editors know best


def schemas() -> dict[str, dict[str, Any]]:
    """File name -> schema."""
    return {
        "channel.json": described(Models().file(ChannelConfig, "A channel of LabRelay: channels/*.yaml")),
        "layout.json": described(schema_of_texts.layout(), schema_words.LAYOUT),
        "mapping.json": described(schema_of_texts.mapping(), schema_words.MAPPING),
        "pack.json": described(Models().file(PackConfig, "An analyzer pack of LabRelay: analyzers/*/pack.yaml")),
        "site.json": described(Models().file(SiteConfig, "A site of LabRelay: config/labrelay.yaml")),
        "test.json": described(schema_of_tests.test_file(), schema_words.TEST),
    }


def text_of(schema: dict[str, Any]) -> str:
    """A schema as its file holds it: a line for each definition, so that a change shows in few lines."""
    definitions = schema.get("definitions", {})
    lines = [f'"$schema": {json.dumps(DRAFT)}']
    lines += [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in schema.items() if key != "definitions"]
    if definitions:
        inner = ",\n".join(f" {json.dumps(name)}: {json.dumps(value)}" for name, value in definitions.items())
        lines.append(f'"definitions": {{\n{inner}\n}}')
    return "{\n" + ",\n".join(lines) + "\n}\n"


def outdated(folder: Path = FOLDER) -> dict[Path, str]:
    """Files that differ from what the code says now, with what they should be."""
    wanted = {folder / name: text_of(schema) for name, schema in schemas().items()}
    return {
        path: text for path, text in wanted.items() if not path.is_file() or path.read_text(encoding="utf-8") != text
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 1 if a file is out of date")
    check: Any = parser.parse_args(arguments).check
    files = outdated()
    for path, text in files.items():
        print(path.relative_to(CHECKOUT))
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return 1 if files and check else 0


if __name__ == "__main__":
    sys.exit(main())
