"""Several matrices in one tensor, drawn by the fans of the whole.

## What it does
Finds `in_proj_weight`, `qkv.weight` and the gates of an LSTM or GRU filled as one matrix by an initializer that reads fans.

## Why is this bad
Each of the matrices in it has its own fans: drawn as one, its standard deviation is too small, and an orthogonal one is not
orthogonal gate by gate.

## Network
```python
net = nn.LSTM(4, 8, bias=False)
```

## Example
```init
LSTM.weight_ih_l* ~ xavier_uniform()
LSTM.weight_hh_l* ~ normal(0, 0.1)
```

## Use instead
```init
LSTM.weight_ih_l* as (4, hidden_size, -1)[*] ~ xavier_uniform()
LSTM.weight_hh_l* ~ normal(0, 0.1)
```

## Source
pytorch 166378, cleanrl 358.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...diagnostic import Diagnostic
from ...nodes import Assign, Call
from ..file import File
from ..frame import lint
from ..network import entries_of, refilled

if TYPE_CHECKING:
    from ...plans import Plan

BY_FANS = re.compile(r"(xavier|glorot|orthogonal)")
FUSED = re.compile(
    r"(^|\.)(in_proj_weight|(c_|to_|w)?qkv(_proj)?\.weight|gate_up_proj(\.weight)?|weight_[ih]h_l\d+(_reverse)?)$"
)


@lint(needs="network")
def check(file: File, plan: Plan) -> Iterator[Diagnostic]:
    seen = set()
    for entry, base in entries_of(file, plan):
        rule = base.clause.rule
        call = rule.value if isinstance(rule, Assign) else None
        if not isinstance(call, Call) or not BY_FANS.match(call.function) or base.clause.number in seen:
            continue
        if FUSED.search(entry.name) and entry.tensor.ndim == 2 and not refilled(entry):
            seen.add(base.clause.number)
            count = (
                "4, hidden_size"
                if "LSTM" in _owner(plan, base)
                else "3, hidden_size"
                if "GRU" in _owner(plan, base)
                else "3, embed_dim"
            )
            yield file.finding(
                call, f"`{entry.label}` {list(entry.shape)} holds several matrices, and `{call.function}` fills it as one",
                f"`as ({count}, -1)[*]` fills each by itself",
            )  # fmt: skip


def _owner(plan: Plan, action: object) -> str:
    return plan.network.modules[action.match.module].cls.name  # type: ignore[attr-defined]
