"""Two processes of fully sharded data parallel training (FSDP1), started from the meta device by a rule file."""

import os
import sys

import torch
from torch import distributed as dist
from torch.distributed.fsdp import FullyShardedDataParallel as FSDP
from torch.distributed.fsdp.wrap import ModuleWrapPolicy

import initdsl
from tests.filling.test_init_fn import RULES, Block, Net


def work(mode: str) -> None:
    dist.init_process_group("gloo")
    with torch.device("meta"):
        net = Net()
    rules = initdsl.parse(RULES)
    if mode == "device":
        fill = rules.as_init_fn(net, seed=3, device="cpu")
    else:
        own = rules.as_init_fn(net, seed=3)

        def fill(module: torch.nn.Module) -> None:
            own(module.to_empty(device="cpu", recurse=False))

    sharded = FSDP(
        net,
        auto_wrap_policy=ModuleWrapPolicy({Block}),
        param_init_fn=fill,
        device_id=torch.device("cpu"),
        use_orig_params=True,
    )
    whole = Net()
    initdsl.apply(whole, RULES, seed=3)
    with FSDP.summon_full_params(sharded):
        ours = {name.replace("_fsdp_wrapped_module.", ""): p for name, p in sharded.named_parameters()}
        theirs = dict(whole.named_parameters())
        assert list(ours) == list(theirs)
        for name in theirs:
            assert torch.equal(ours[name], theirs[name]), name
    print(f"as one model: {len(theirs)} parameters", flush=True)
    dist.barrier()
    os._exit(0)


if __name__ == "__main__":
    work(sys.argv[1])
