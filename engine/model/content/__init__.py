"""What a message or a document says: results, controls, lots, times, the numbers that it is searched by. Pure."""
