"""Networks larger than memory, filled straight into files."""
