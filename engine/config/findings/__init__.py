"""What a whole configuration shows: contradictions, exposed parts, open questions, certificates, changes."""
