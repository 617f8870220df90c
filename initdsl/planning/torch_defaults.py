"""What `reset_parameters` of torch's own modules gives, where that is known without running it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from initdsl.initializers import Constant, Distribution, Normal, Uniform
from initdsl.initializers.fans import fans
from initdsl.network.attributes import MISSING
from initdsl.network.description import Network
from initdsl.network.parts import ModuleInfo, TensorInfo

__all__ = ["given_by_reset", "known_default", "sets_alone"]


def known_default(network: Network, module: int, tensor: TensorInfo) -> Distribution | None:
    """Return what a tensor starts from by the default of a module that holds it; None where that is not sure.

    The reset of a module above may set it anew, as that of `nn.Transformer` does.
    """
    return None if _is_below_a_reset(network, network.modules[module]) else given_by_reset(network, module, tensor)


def given_by_reset(network: Network, module: int, tensor: TensorInfo) -> Distribution | None:
    """Return what the reset of a module by itself gives a tensor of its own; None of a class that is not torch's."""
    info = network.modules[module]
    local = next((local for owner, local in tensor.owners if owner == module), None)
    gives = GIVEN.get(info.cls.qualname)
    if gives is None or local is None or tensor.kind == "parametrized" or not tensor.floating:
        return None
    return gives(network, info, local, tensor)


def _is_below_a_reset(network: Network, info: ModuleInfo) -> bool:
    above, seen = [parent for parent, _ in info.parents], {info.index}
    while above:
        index = above.pop()
        if index in seen:
            continue
        seen.add(index)
        if network.modules[index].reset is not None:
            return True
        above += [parent for parent, _ in network.modules[index].parents]
    return False


def _within(fan: float) -> Distribution | None:
    return Uniform(-1 / math.sqrt(fan), 1 / math.sqrt(fan)) if fan > 0 else None


def _layer(network: Network, info: ModuleInfo, local: str, tensor: TensorInfo) -> Distribution | None:
    """Linear layers and convolutions: kaiming_uniform with `a=sqrt(5)`, and a bias within the same bounds."""
    weight = info.parameters.get("weight")
    if local not in ("weight", "bias") or weight is None or network.tensors[weight].ndim < 2:
        return None
    return _within(fans(network.tensors[weight].shape)[0])


def _bilinear(network: Network, info: ModuleInfo, local: str, tensor: TensorInfo) -> Distribution | None:
    weight = info.parameters.get("weight")
    return None if weight is None or local not in ("weight", "bias") else _within(network.tensors[weight].shape[1])


def _recurrent(network: Network, info: ModuleInfo, local: str, tensor: TensorInfo) -> Distribution | None:
    hidden = info.attribute("hidden_size")
    return _within(hidden) if isinstance(hidden, int) and local.startswith(("weight_", "bias_")) else None


def _embedding(network: Network, info: ModuleInfo, local: str, tensor: TensorInfo) -> Distribution | None:
    return Normal(0.0, 1.0) if local == "weight" and info.attribute("padding_idx") is None else None


def _norm(network: Network, info: ModuleInfo, local: str, tensor: TensorInfo) -> Distribution | None:
    values = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
    return Constant(values[local]) if local in values else None


def _attention(network: Network, info: ModuleInfo, local: str, tensor: TensorInfo) -> Distribution | None:
    if local == "in_proj_bias":
        return Constant(0.0)
    return _within(sum(fans(tensor.shape)) / 6) if local.endswith("_proj_weight") else None


Gives = Callable[[Network, ModuleInfo, str, TensorInfo], Distribution | None]
CLASSES: dict[Gives, str] = {
    _layer: "linear.Linear linear.NonDynamicallyQuantizableLinear conv.Conv1d conv.Conv2d conv.Conv3d "
    "conv.ConvTranspose1d conv.ConvTranspose2d conv.ConvTranspose3d",
    _bilinear: "linear.Bilinear",
    _recurrent: "rnn.RNN rnn.LSTM rnn.GRU rnn.RNNCell rnn.LSTMCell rnn.GRUCell",
    _embedding: "sparse.Embedding sparse.EmbeddingBag",
    _norm: "normalization.LayerNorm normalization.RMSNorm normalization.GroupNorm batchnorm.BatchNorm1d "
    "batchnorm.BatchNorm2d batchnorm.BatchNorm3d batchnorm.SyncBatchNorm instancenorm.InstanceNorm1d "
    "instancenorm.InstanceNorm2d instancenorm.InstanceNorm3d",
    _attention: "activation.MultiheadAttention",
}
GIVEN = {f"torch.nn.modules.{name}": gives for gives, names in CLASSES.items() for name in names.split()}


# ---- what a reset sets


# what the resets of a kind set if the module has it, and the attribute, true of what there is, that they look at
SETS: dict[Gives, dict[str, tuple[str, ...]]] = {
    _layer: {"weight": (), "bias": ()},
    _bilinear: {"weight": (), "bias": ()},
    _embedding: {"weight": ()},
    _norm: {
        **dict.fromkeys(("weight", "bias"), ("affine", "elementwise_affine")),
        **dict.fromkeys(("running_mean", "running_var", "num_batches_tracked"), ("track_running_stats",)),
    },
}


def sets_alone(info: ModuleInfo, names: Iterable[str]) -> bool:
    """Return whether a module is of a class of torch's whose reset sets all of its tensors of these names."""
    gives = GIVEN.get(info.cls.qualname)
    if gives is _recurrent:  # all that is a parameter
        return not info.buffers
    sets = SETS.get(gives, {}) if gives is not None else {}
    return all(
        name in sets and all(info.attribute(switch) in (True, MISSING) for switch in sets[name]) for name in names
    )
