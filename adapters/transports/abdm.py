"""The transport of a source without a line: its messages are patients who share their profile by ABDM
(`engine.features.abdm.flows.reports`).
"""

from adapters.transports.worklist import Worklist
from engine.model.ports import StreamHandler


def build(source: object, handler: StreamHandler) -> Worklist:
    """The transport of a source of kind ``abdm-share``."""
    return Worklist()
