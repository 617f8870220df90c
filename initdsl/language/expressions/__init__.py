"""Expressions over numbers, tensors, and shapes that stand for tensors."""
