"""Statements to a RuleSet, with the files they use."""
