"""What of quality control runs while the site runs: it knows when controls and maintenance are due."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from engine.config.load import Site
from engine.features.quality_control.config import ControlsConfig, controls_of
from engine.features.quality_control.rules.maintenance import Job, jobs_of
from engine.runtime.service import Service

if TYPE_CHECKING:
    from engine.runtime.app import App


class QualityService(Service):
    """Of one running site."""

    def __init__(self) -> None:
        self.config = ControlsConfig()
        self.jobs: Sequence[Job] = ()

    def configured(self, site: Site) -> None:
        self.config = controls_of(site.config)
        self.jobs = tuple(jobs_of(site.channels))

    def shown(self, site: Site) -> Mapping[str, object]:
        return {"maintenance": self.jobs} if self.jobs else {}


def quality(app: "App") -> QualityService:
    """Of a running site."""
    return QualityService()
