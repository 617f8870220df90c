"""Two plans side by side: what a change of rules or of a model does to the start."""
