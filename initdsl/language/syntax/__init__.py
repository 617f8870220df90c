"""Text to statements: the grammar, the parser, and what the parser makes of mistakes."""
