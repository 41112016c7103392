"""Adapters to other systems: wires, formats, dialects of makers, destinations. `engine.config` finds them by name."""
