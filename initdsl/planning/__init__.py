"""A RuleSet on a described model to a Plan. Pure: no torch, nothing is written."""
