"""The shifts of a site, read from its file alone: for a verb that starts nothing.

Apart from `engine.config.site_file`, which lists read with: the model of ``web:`` is pydantic's.
"""

from collections.abc import Sequence
from datetime import time
from pathlib import Path

from engine.config.reading.secrets import expand
from engine.config.reading.yaml_nodes import read_file
from engine.config.site import CONFIG_FILE
from engine.config.web import WebConfig
from engine.model.errors import ConfigError


def site_shifts(folder: Path) -> Sequence[time]:
    """The times of day at which the site's shifts begin; the usual ones where it names none that can be read."""
    try:
        web = read_file(folder / CONFIG_FILE, str(CONFIG_FILE)).get("web")
        node = web.get("shifts") if web is not None else None
        if node is None:
            return WebConfig().shifts
        texts = [expand(one.value) for one in (node.items if node.kind == "list" else [node])]
        return WebConfig.model_validate({"shifts": texts}).shifts
    except (ConfigError, KeyError, ValueError, OSError):
        return WebConfig().shifts
