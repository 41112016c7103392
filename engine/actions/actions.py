"""All that people do about messages, in one object: `Acts`."""

from engine.actions.edit import Editing
from engine.actions.erase import Erasing
from engine.actions.hold_decisions import Deciding
from engine.actions.noting import Noting
from engine.actions.replay import Replaying
from engine.actions.reprocess import Reprocessing
from engine.actions.retry import Retrying
from engine.actions.set_aside import SettingAside
from engine.actions.tell_apart import TellingApart


class Acts(Retrying, Deciding, Editing, Replaying, Reprocessing, SettingAside, Erasing, TellingApart, Noting):
    """Carries acts out; see `UnderWay` for what it is made with."""
