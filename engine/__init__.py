"""LabRelay's engine: what it does with messages, and how it is run."""

from engine.model.process import shared_methods

shared_methods.install()
