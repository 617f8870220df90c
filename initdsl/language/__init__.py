"""Text to a RuleSet: syntax, expressions and rules. No torch, no network."""

from initdsl.language.syntax.state import Limits

__all__ = ["Limits"]
