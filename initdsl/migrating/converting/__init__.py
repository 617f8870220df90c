"""Other libraries' initialization settings as rule files."""
