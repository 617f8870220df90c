"""The initializers a rule file may call: one decorated function each, collected in one registry.

An initializer's keyword parameters, their types and its docstring are all there is to write: the check of arguments, the
completion, the hover text and the documentation come from them. There are two kinds, told apart by the name of the
first parameter.

`def normal(shape, mean=0.0, std=1.0) -> Normal` is **element-wise** (`elementwise.py`). It returns the distribution of a
tensor of this shape, and is called while the plan is made. It draws unless it returns a `Constant`.

`def orthogonal(tensor, gain=1.0, *, generator=None) -> None` needs the **whole tensor** (`whole.py`) and fills it in
place. It draws if it has a parameter `generator`.

- The tensor is the parameter, or the piece of it that the rule selects: a gate, a head, a slice. Square matrices, one
  row and no elements at all are shapes like others; `min_ndim`, `max_ndim` and `check` refuse the rest while planning.
- Without a seed it is that memory itself: any strides, any floating dtype, half types and 8-bit floats included. Under a
  seed it is contiguous and float32 or float64, so that neither layout nor half types show in what is drawn; results
  are rounded and copied. It holds the parameter's old values: write every element.
- All drawing is done by `fill(tensor, distribution, generator)`, which takes the three kinds of generator: None
  (torch's global one), a `torch.Generator` (one that a user's function was given), and a `StreamGenerator`, which
  built-in initializers get under a seed; one that fills more than once says how often: `@builtin(streams=2)`. Where torch has an initializer of the same name, no seed means torch's very
  call, bit by bit.
- Under a seed, what is computed from many elements (sums, products of matrices, decompositions) is computed in float64
  inside `fixed_order()`: otherwise the number of threads shows in the last bits.
- New tensors name `device=tensor.device` and a dtype, as the defaults of the process may be others. A fake tensor has no
  values: no `float(t)`, no branches on elements.
- torch is imported inside the function: rule files are linted without it.

`tests/initializers` compares each with the library or paper it comes from, and tries the shapes, dtypes and layouts above.
"""

from . import adjusted, elementwise, whole
from .arguments import ArgumentError, Arguments
from .binding import bind, completed, parameters_of, type_of
from .distributions import Bernoulli, Constant, Distribution, Normal, Random, TruncatedNormal, Uniform, of_part
from .fans import fans
from .filling import fill, filler
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
    "bind",
    "completed",
    "default_registry",
    "elementwise",
    "fans",
    "fill",
    "filler",
    "initializer",
    "of_part",
    "parameters_of",
    "type_of",
    "whole",
]
