"""Examinations: the machine for `labrelay doctor`, lines of analyzers, packs, messages without patients."""
