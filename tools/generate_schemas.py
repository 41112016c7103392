"""config/schema/*.json: JSON Schema for editors, of everything that a site's YAML can hold. `make docs` renews them.

They complete keys, show what each means and mark slips while one types. `labrelay check` remains the judge: a schema
knows neither expressions nor other files.
"""

import json
from pathlib import Path
from typing import Any

from engine.config.channel import channel_model
from engine.config.pack import PackConfig
from engine.config.sitewide import site_model
from tools import schema_of_texts
from tools.schema_of_models import Models

FOLDER = Path(__file__).resolve().parents[1] / "config" / "schema"
DRAFT = "http://json-schema.org/draft-07/schema#"  # what editors know best


def schemas() -> dict[str, dict[str, Any]]:
    """File name -> schema."""
    return {
        "channel.json": Models().file(channel_model(), "A channel of LabRelay: channels/*.yaml"),
        "layout.json": schema_of_texts.layout(),
        "mapping.json": schema_of_texts.mapping(),
        "pack.json": Models().file(PackConfig, "An analyzer pack of LabRelay: analyzers/*/pack.yaml"),
        "site.json": Models().file(site_model(), "A site of LabRelay: config/labrelay.yaml"),
        "test.json": schema_of_texts.test_file(),
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


def files() -> dict[Path, str]:
    return {FOLDER / name: text_of(schema) for name, schema in schemas().items()}
