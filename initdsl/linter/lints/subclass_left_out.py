"""A class of which only, or also, subclasses are there.

## What it does
Finds class names that leave subclasses of the class out: an error where nothing else of it is there, a warning where no
rule reaches what was left out.

## Why is this bad
`Linear` is exactly that class. The output of `nn.MultiheadAttention` is a `NonDynamicallyQuantizableLinear`, a layer
under `parametrize` a `ParametrizedLinear`, timm's norms are `BatchNormAct2d`: they keep torch's default. `Linear+` takes
subclasses in.

## Network
```python
class Norm(nn.LayerNorm):
    pass

net = nn.Sequential(Norm(4), Norm(4))
```

## Example
```init
keep net
LayerNorm.weight = 1
```

## Use instead
```init
keep net
LayerNorm+.weight = 1
```

## Source
timm's EfficientNet, where `BatchNorm2d` is none of 49 norms.
"""

from __future__ import annotations

from initdsl.linter.definition import by_resolver

check = by_resolver("error")
