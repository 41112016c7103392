"""Quality control: controls are points, runs of them get verdicts, and a verdict says which results wait.

    message -> its controls (`engine.model.content.quality_controls`) -> points -> runs -> verdicts
                                                                                  |
    results of patients of that test on that analyzer wait for a person  <--------+  lists those sent before

A control is never a patient's result, on whatever route its message goes. Points and verdicts are written in the
transaction of the outcome, are added and never changed; a person closes a failed run, and releases what waits.
"""

from engine.feature import Feature

FEATURE = Feature(
    after=("results",),
    on_outcome="on_outcome:QualityControl",
    on_decided="rows.closing:decided",
    tables="rows:TABLES",
    every="rows.sweeping:EVERY",
    forgets="rows.sweeping:forget",
    forgets_again="rows.sweeping:forget_again",
    service="service:quality",
    keys="config:ControlsKeys",
    channel_keys="config:AnalyzerKeys",
    agreement="config:disagreements",
    key_help="config:KEYS",
    acts="acts:ACTS",
    lists="lists.listed:LISTS",
    todo="todo:entries",
    pages="pages:routes",
    menu="pages:MENU",
    panels="pages.maintenance:PANELS",
)
