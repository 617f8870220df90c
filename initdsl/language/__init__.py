"""Text to a RuleSet: syntax, expressions and rules. No torch, no network."""

from .syntax.state import Limits

__all__ = ["Limits"]
