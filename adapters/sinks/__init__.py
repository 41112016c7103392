"""Where alerts go: one file for each kind, named by its model (`engine.features.alerts.config`).

Each has ``build(name, config, clock)``, which gives an `engine.model.ports.AlertSink`. A sink sends the text that it is
given, and knows nothing else.
"""
