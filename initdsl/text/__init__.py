"""What is read and what is said: sources, spans, findings, files. Everything else stands on this."""
