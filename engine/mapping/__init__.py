"""The mapping language: rules in YAML, code tables in CSV, compiled to Python once and applied to every message.

syntax        expressions              compiler/   rules to source          run, identity   one message's state
rules         YAML to steps            functions/  what rules may call      bundle          the envelope
tables        CSV to dictionaries      loading     names to programs        trace,          why a value is what it is
                                                                            explaining
"""

from engine.mapping.loading import load
from engine.mapping.program import Program

__all__ = ["Program", "load"]
