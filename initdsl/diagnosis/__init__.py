"""Whether signals and gradients get through a model as its rules start it: one forward and one backward pass."""

from .diagnosis import Comparison, Diagnosis
from .recorder import Layer
from .run import diagnose
from .verdict import Limits, Remark, Trunk

__all__ = ["Comparison", "Diagnosis", "Layer", "Limits", "Remark", "Trunk", "diagnose"]
