"""A model as a value: modules, classes, tensors, ties; and what selectors select in it."""
