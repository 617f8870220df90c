"""Models larger than memory, filled straight into files."""
