"""The mapping language: rules in YAML, code tables in CSV, compiled to Python once and applied to every message.

language/      expressions, YAML to steps        loading        names to programs
code_tables/   CSV to dictionaries               message/       one message's state, its identity
compiler/      rules to source                   fhir/          R4, and the envelope
functions/     what rules may call               outputs/       documents that are no FHIR
hold_rules/    what is held for a person         explanations/  why a value is what it is
trying/        tests of mappings                 values/        decimals, JSON, times as text
"""

from engine.mapping.loading import load
from engine.mapping.program import Program

__all__ = ["Program", "load"]
