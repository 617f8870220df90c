"""A tensor of a file that no rule reads.

## What it does
Finds tensors that no rule reads, in a file from which modules are loaded. It is a note where the model has them all and the
selector leaves them out.

So it is a note for `net.* not in net.fc = load("pretrained.pth")`. With notes alone `initdsl lint` exits with 0.

## Why is this bad
The model may have the part under another name, and start without its pretrained values: `map=` renames.

## Network
```python
net = nn.Sequential(nn.Linear(4, 8))
torch.save({**net.state_dict(), "head.weight": torch.ones(2, 8)}, "pretrained.pth")
```

## Example
```init
net = load("pretrained.pth")
```

## Use instead
```init
net = load("pretrained.pth")  # initdsl: ignore[unread-tensors] the model has no head
```

## Source
`unexpected_keys` of `torch.nn.Module.load_state_dict`.
"""

from __future__ import annotations

from initdsl.linter.definition import by_resolver

check = by_resolver("warning")
