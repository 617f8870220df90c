"""Several matrices in one tensor, drawn by the fans of the whole.

## What it does
Finds `in_proj_weight`, the fused projections of attention (`qkv`, `c_attn`, `query_key_value`) and of gated MLPs
(`gate_up_proj`), and the gates of an LSTM or GRU, filled as one matrix by an orthogonal initializer, or by one that reads
fan_out.

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

from initdsl.language.syntax.nodes import Assign, Call, Name, String
from initdsl.language.syntax.walk import walk
from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.plan_helpers import filling_rules, is_refilled
from initdsl.text.diagnostic import Diagnostic

if TYPE_CHECKING:
    from initdsl.network.parts import ModuleInfo
    from initdsl.planning.plan import Plan, PlanEntry


WHOLE = re.compile(r"xavier|glorot|orthogonal")


MODES = ("fan_out", "fan_avg", "fan_geo_avg")


GATES = {"LSTM": 4, "LSTMCell": 4, "GRU": 3, "GRUCell": 3}


ATTENTION = re.compile(
    r"(^|\.)([cw]_?|to_|in_proj_)?(qkv|kv)(_proj|_linear)?$|(^|\.)(c_attn|query_key_value)$", re.IGNORECASE
)


GATED = re.compile(r"(^|\.)(gate_up_proj|up_gate_proj|w12|w13)$")


@lint(needs="network")
def check(file: File, plan: Plan) -> Iterator[Diagnostic]:
    for planned in filling_rules(file, plan):
        calls = [n for n in walk(planned.rule.value) if isinstance(n, Call)] if isinstance(planned.rule, Assign) else []
        call = next((call for call in calls if _differs_for_the_whole(call)), None)
        if call is None:
            continue
        for fill in planned.fills:
            entry = fill.entry
            hint = None if entry.tensor.ndim != 2 or is_refilled(entry) else _each_alone(entry, fill.module)
            if hint is not None:
                yield file.finding(
                    call,
                    f"`{entry.label}` {list(entry.shape)} holds several matrices, and `{call.function}` fills it as one",
                    hint,
                )
                break


def _differs_for_the_whole(call: Call) -> bool:
    """Tell whether a call makes another thing of several matrices than of each: fan_in is the same, fan_out is not."""
    values = [argument.value for argument in call.arguments]
    words = [v.name if isinstance(v, Name) else v.value for v in values if isinstance(v, Name | String)]
    return WHOLE.match(call.function) is not None or any(word in MODES for word in words)


def _each_alone(entry: PlanEntry, module: ModuleInfo) -> str | None:
    """Return how to fill the matrices of a tensor one by one; `None` where it holds but one."""
    path, _, local = entry.name.rpartition(".")
    gates = next((GATES[c.name] for c in (module.cls, *module.cls.bases) if c.name in GATES), None)
    if gates is not None:
        fused = re.match(r"weight_[ih]h(_l\d+(_reverse)?)?$", local)
        return f"`as ({gates}, hidden_size, -1)[*]` fills each by itself" if fused else None
    if local == "in_proj_weight":
        return "`as (3, embed_dim, -1)[*]` fills each by itself"
    if local != "weight" or not (ATTENTION.search(path) or GATED.search(path)):
        return None
    count = 2 if GATED.search(path) or not re.search(r"qkv|c_attn|query_key_value", path, re.IGNORECASE) else 3
    rows, columns = entry.shape
    if module.cls.name == "Conv1D":
        return f"give each its columns, as in `weight[:, 0:{columns // count}]`"
    if count == 3 and rows != 3 * columns:
        return "give each its rows, as in `weight[0:n]`"
    return f"`as ({count}, -1, in_features)[*]` fills each by itself"
