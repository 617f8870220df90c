"""A RuleSet on a described network to a Plan. Pure: no torch, nothing is written."""
