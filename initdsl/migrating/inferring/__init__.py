"""A rule file proposed from a model as its own code starts it. Named so because `initdsl.infer` is a function.

sampling    the model built a few times, and what each tensor is: constant, fixed or drawn
tensor      a sampled tensor with what formulas may speak of, and a right-hand side that fits it
places      where tensors stand, and how selectors name that
kinds       which distribution numbers follow, and how wide it is
formulas    what a scale may come from: fans, depth, attributes
fixed       right-hand sides for values that no draw moves
fit         the simplest right-hand side that fits a group of tensors
grouping    few rules for all tensors, checked against the model
writing     the rules as text, with comments that say how sure they are
"""

from .writing import Inferred, infer

__all__ = ["Inferred", "infer"]
