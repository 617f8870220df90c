"""A selector that selects nothing.

## What it does
Finds paths, regular expressions and classes that select nothing in the model. A class that is not there at all is a
warning (a word in small letters that names none is an error: `head.weight` for `net.head.weight`), everything else an
error; `S?` says that S may select nothing.

## Why is this bad
The rule does nothing, and what it was written for keeps torch's default. Nobody sees it but in the loss.

## Network
```python
net = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
```

## Example
```init
keep net
net[0].wieght ~ normal(0, 0.02)
```

## Use instead
```init
keep net
net[0].weight ~ normal(0, 0.02)
```

## Source
transformers 47458: a name test never matched, and GPT-2's residual scale was silently wrong; Modalities 351: a regular
expression missed `lm_head`.
"""

from __future__ import annotations

from initdsl.linter.definition import by_resolver

check = by_resolver("error")
