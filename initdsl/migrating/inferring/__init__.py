"""A rule file proposed from a network as its own code starts it. Named so because `initdsl.infer` is a function.

`sampling` builds the network a few times and says of each tensor what it is (constant, fixed, drawn), `laws` finds the
distribution and a formula for its scale, `writing` groups tensors into few rules and checks them against the network.
"""

from .writing import Inferred, infer

__all__ = ["Inferred", "infer"]
