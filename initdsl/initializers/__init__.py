"""The initializers a rule file may call: one decorated function each, collected in one registry."""

from . import adjusted, elementwise, whole
from .distributions import Bernoulli, Constant, Distribution, Normal, Random, TruncatedNormal, Uniform
from .fans import fans
from .filling import fill
from .initializer import ArgumentError, Initializer
from .registry import Registry, default_registry, initializer

__all__ = [
    "ArgumentError",
    "Bernoulli",
    "Constant",
    "Distribution",
    "Initializer",
    "Normal",
    "Random",
    "Registry",
    "TruncatedNormal",
    "Uniform",
    "adjusted",
    "default_registry",
    "elementwise",
    "fans",
    "fill",
    "initializer",
    "whole",
]
