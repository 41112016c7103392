"""The keys of alerts in `labrelay help keys`."""

from engine.config.documented import Block, KeyHelp
from engine.features.alerts.config.alerts import AlertRule, AlertsConfig, EscalationStep
from engine.features.alerts.config.sinks import SINK_KINDS, SinkBase

KEYS = KeyHelp(
    {
        "alerts": (
            Block("`alerts:`", [AlertsConfig]),
            Block("An entry of `rules:`", [AlertRule]),
            Block("An entry of `escalation:`", [EscalationStep]),
            Block("Every sink", [SinkBase], intro=False),
            *(
                Block(f"A sink of `kind: {kind}`", [model], skip=SinkBase.model_fields)
                for kind, model in SINK_KINDS.items()
            ),
        )
    },
    about={"alerts": "`alerts:` of the site: who is notified of what waits for a person."},
)
