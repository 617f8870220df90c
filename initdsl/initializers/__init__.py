"""The initializers a rule file may call: one decorated function each, collected in one registry."""

from . import elementwise, whole
from .distributions import Constant, Distribution, Normal, TruncatedNormal, Uniform
from .fans import fans
from .registry import ArgumentError, Initializer, Registry, default_registry, initializer

__all__ = [
    "ArgumentError",
    "Constant",
    "Distribution",
    "Initializer",
    "Normal",
    "Registry",
    "TruncatedNormal",
    "Uniform",
    "default_registry",
    "elementwise",
    "fans",
    "initializer",
    "whole",
]
