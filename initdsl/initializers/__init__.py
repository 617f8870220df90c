"""The initializers a rule file may call: one decorated function each, collected in one registry."""

from . import adjusted, elementwise, whole
from .arguments import ArgumentError, Arguments
from .binding import argument_model, bind, parameters_of
from .distributions import Bernoulli, Constant, Distribution, Normal, Random, TruncatedNormal, Uniform
from .fans import fans
from .filling import fill
from .initializer import Initializer
from .registry import Registry, default_registry, initializer

__all__ = [
    "ArgumentError",
    "Arguments",
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
    "argument_model",
    "bind",
    "default_registry",
    "elementwise",
    "fans",
    "fill",
    "initializer",
    "parameters_of",
    "whole",
]
