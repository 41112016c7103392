"""All that people do about messages, in one object: `Acts`."""

from engine.acts.deciding import Deciding
from engine.acts.editing import Editing
from engine.acts.erasing import Erasing
from engine.acts.noting import Noting
from engine.acts.replaying import Replaying
from engine.acts.reprocessing import Reprocessing
from engine.acts.retrying import Retrying
from engine.acts.setting_aside import SettingAside
from engine.acts.telling_apart import TellingApart


class Acts(Retrying, Deciding, Editing, Replaying, Reprocessing, SettingAside, Erasing, TellingApart, Noting):
    """Carries acts out; see `UnderWay` for what it is made with."""
