"""What LabRelay touches: wires, formats, makers' dialects, destinations. `engine.config` finds these modules by name."""
