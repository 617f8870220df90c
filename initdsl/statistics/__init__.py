"""Moments of tensors, and whether numbers follow a distribution."""
