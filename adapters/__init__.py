"""What LabRelay touches: wires, formats, dialects of makers, destinations. `engine.config` finds them by name."""
