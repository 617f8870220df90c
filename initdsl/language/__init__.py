"""Text to a RuleSet: syntax, expressions and rules. No torch, no model."""

from initdsl.language.syntax.state import Limits

__all__ = ["Limits"]
