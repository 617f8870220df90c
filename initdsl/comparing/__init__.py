"""Two plans side by side: what a change of rules or of a network does to the start."""
