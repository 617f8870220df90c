"""Models built without memory, allocated once and filled once."""
