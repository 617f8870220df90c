"""`load` and the tables it resizes: names, prefixes, sharded and pickled files; against timm and transformers."""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import initdsl
from initdsl.checkpoints import safetensors as safetensors_files
from initdsl.checkpoints import store as stores
from initdsl.network.describe import describe
from initdsl.planning.loads import renamed
from initdsl.text.files import reading
from tests.support.nets import Tensors

pytestmark = pytest.mark.filterwarnings("ignore::initdsl.UncoveredParameterWarning")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Two(nn.Module):
    """Two layers and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.head = nn.Linear(4, 3)


def weights(seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return {name: torch.randn_like(p) for name, p in Two().named_parameters()}


def said(net: nn.Module, rules: str, **options: Any) -> str:
    """The error, without a change of the model."""
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(initdsl.InitDSLError) as caught:
        initdsl.apply(net, rules, **options)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    return str(caught.value)


def loaded(rules: str) -> dict[str, torch.Tensor]:
    net = Two()
    initdsl.apply(net, f"*.* = 0\n{rules}")
    return {name: p.detach() for name, p in net.named_parameters()}


def same(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor], *names: str) -> None:
    for name, value in found.items():
        assert torch.equal(value, wanted[name] if name in names or not names else torch.zeros_like(value)), name


# ---- names


@pytest.mark.parametrize(("name", "old", "new", "expected"), [
    ("blocks.3.attn.qkv.weight", "blocks", "layers", "layers.3.attn.qkv.weight"),
    ("blocks.3.attn.weight", "blocks.*.attn", "layers.*.attention", "layers.3.attention.weight"),
    ("a.b.a.b", "a.b", "c", "c.c"),
    ("a.b.c", "b", "", "a.c"),
    ("blocks3.w", "blocks", "layers", None),
    ("a", "a.b", "c", None),
    ("a.1.b.2.w", "a.*.b.*", "x.*.*", "x.1.2.w"),
])  # fmt: skip
def test_renaming_takes_whole_parts(name: str, old: str, new: str, expected: str | None) -> None:
    assert renamed(name, old, new) == expected


def test_prefix_and_map() -> None:
    wanted = weights(0)
    stored = {"backbone." + n.replace("layers", "blocks").replace("head", "fc"): v for n, v in wanted.items()}
    save_file({**stored, "other.weight": torch.zeros(1)}, "x.safetensors")
    same(loaded('net = load("x.safetensors", prefix="backbone.", map={"blocks": "layers", "fc": "head"})'), wanted)
    only = ("layers.0.weight", "layers.0.bias")
    same(loaded('net.layers[0] = load("x.safetensors", prefix="backbone.", map={"blocks": "layers"})'), wanted, *only)
    same(loaded('net.layers[0] = load("x.safetensors", prefix="backbone.blocks.0.")'), wanted, *only)


def test_a_subset_is_left_to_other_rules() -> None:
    wanted = weights(1)
    save_file({n: v for n, v in wanted.items() if "head" not in n}, "x.safetensors")
    net = Two()
    report = initdsl.apply(net, 'net.head.* = 7; net = load("x.safetensors", missing=skip)', strict=True)
    assert {e.name: e.effect for e in report}["head.weight"] == "= 7"
    assert torch.equal(net.layers[1].weight, wanted["layers.1.weight"])
    assert "`x.safetensors` has no tensor `head.weight`" in said(Two(), 'net = load("x.safetensors")')
    assert "nothing of what this selects" in said(Two(), 'net.head = load("x.safetensors", missing=skip)')
    assert [e.name for e in initdsl.plan(net, 'net = load("x.safetensors", missing=skip)').uncovered] == [
        "head.weight",
        "head.bias",
    ]


@pytest.mark.parametrize(("prefix", "rules", "hint"), [
    ("state_dict.", 'net = load("x.pt")', 'all names in this file begin with `state_dict.`: write `load("x.pt", prefix="state_dict.")`'),
    ("state_dict.model.", 'net = load("x.pt")', 'write `load("x.pt", prefix="state_dict.model.")`'),
    ("state_dict.module.", 'net = load("x.pt", prefix="state_dict.")', 'write `load("x.pt", prefix="state_dict.module.")`'),
    ("module.", 'net = load("x.pt", missing=skip)', 'all names in this file begin with `module.`: write `prefix="module."`'),
    ("_orig_mod.", 'net.** = 0\nnet = load("x.pt")', 'write `load("x.pt", prefix="_orig_mod.")`'),
    ("module.", 'net.layers = load("x.pt")', 'write `load("x.pt", prefix="module.")`'),
    ("module.", 'net.head.weight = load("x.pt")', 'write `load("x.pt", prefix="module.")`'),
])  # fmt: skip
def test_a_file_of_a_wrapped_model_says_its_prefix(prefix: str, rules: str, hint: str) -> None:
    wanted = weights(0)
    torch.save({prefix + name: value for name, value in wanted.items()}, "x.pt")
    text = said(Two(), rules)
    assert hint in text
    assert "did you mean" not in text
    written = re.search(r"write `(?:load\(.*)?(prefix=\S*\")", hint)
    assert written is not None
    same(loaded(f'net = load("x.pt", {written[1]})'), wanted)


def test_a_hint_of_a_prefix_takes_the_names_of_the_module_too() -> None:
    torch.save({f"backbone.{name}": value for name, value in Two().layers.state_dict().items()}, "x.pt")
    assert 'write `load("x.pt", prefix="backbone.")`' in said(Two(), 'net.layers = load("x.pt")')
    both = {f"{at}.{name}": value for name, value in weights(0).items() for at in ("model", "ema")}
    torch.save({**both, "step": torch.ones(1)}, "x.pt")
    assert "names in this file begin with `ema.`, `model.`: say which by `prefix=`" in said(Two(), 'net = load("x.pt")')


def test_no_prefix_is_proposed_where_it_would_not_help() -> None:
    state = Two().state_dict()
    del state["head.bias"]
    save_file(state, "x.safetensors")
    assert "prefix" not in said(Two(), 'net = load("x.safetensors")')
    save_file({"encoder.weight": torch.ones(4, 4), "encoder.bias": torch.ones(4), "x": torch.ones(1)}, "x.safetensors")
    assert "write `" not in said(Two(), 'net.head = load("x.safetensors")')


def test_a_file_that_has_nothing_is_named_with_what_it_has() -> None:
    save_file({"w.first": torch.ones(1), "w.second": torch.ones(1)}, "x.safetensors")
    text = said(Two(), 'net = load("x.safetensors", missing=skip)')
    assert "`x.safetensors` has nothing of what this selects" in text
    assert "it has `w.first`, `w.second`; `prefix=` says" in text
    save_file({"weight": torch.ones(9), "bias": torch.ones(9)}, "x.safetensors")
    text = said(Two(), 'net.head = load("x.safetensors", mismatch=skip)')
    assert "in the shape that it has here" in text
    assert "`weight` is [9] there" in text


@pytest.mark.parametrize(("call", "message"), [
    ('load("x.safetensors", prefix="backbon.")', "did you mean `backbone.`"),
    ('load("x.safetensors", prefix="backbone.", map={"block": "layers"})', "no name in `x.safetensors` has `block` in it"),
    ('load("x.safetensors", prefix="backbone.", map={"weight": "bias"})', "would both be `blocks.0.bias`"),
    ('load("x.safetensors", map={"a": 1})', "`map` must be a mapping of strings"),
    ('load("x.safetensors", map="a")', "`map` must be a mapping of strings"),
    ('load("x.safetensors", missing=ignore)', "`missing` must be one of `error`, `skip`"),
    ('load("x.safetensors", key="a", prefix="b")', "`key` names one tensor"),
    ('load("x.safetensors", strict=false)', "`load` takes a path"),
    ('load("x.safetensors", prefix=3)', "`prefix` must be a string"),
    ("load()", "`load` needs a path"),
    ('load("y.safetensors")', "there is no file"),
    ('load("../x.safetensors")', "lies outside the root folder"),
])  # fmt: skip
def test_refused(call: str, message: str) -> None:
    save_file({"backbone.blocks.0.weight": torch.ones(4, 4), "backbone.blocks.0.bias": torch.ones(4)}, "x.safetensors")
    assert message in said(Two(), f"net.layers[0] = {call}")


# ---- sharded and pickled


def sharded(wanted: dict[str, torch.Tensor]) -> None:
    names = list(wanted)
    parts = {"a-00001.safetensors": names[:2], "a-00002.safetensors": names[2:]}
    os.makedirs("m", exist_ok=True)
    for part, mine in parts.items():
        save_file({n: wanted[n] for n in mine}, f"m/{part}")
    index = {"metadata": {}, "weight_map": {n: part for part, mine in parts.items() for n in mine}}
    Path("m/model.safetensors.index.json").write_text(json.dumps(index))


def test_sharded_files_through_their_index() -> None:
    wanted = weights(2)
    sharded(wanted)
    same(loaded('net = load("m/model.safetensors.index.json")'), wanted)
    os.remove("m/a-00002.safetensors")
    same(loaded('net.layers[0] = load("m/model.safetensors.index.json")'), wanted, "layers.0.weight", "layers.0.bias")
    assert "there is no file" in said(Two(), 'net = load("m/model.safetensors.index.json")')


def test_what_streaming_saved_is_loaded() -> None:
    from initdsl.filling.to_disk.stream import stream

    stream(Two, "*.* ~ normal()", "out", seed=1, max_shard_size=100)
    net = Two()
    initdsl.apply(net, 'net = load("out/model.safetensors.index.json")')
    again = Two()
    initdsl.apply(again, "*.* ~ normal()", seed=1)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize(("index", "message"), [
    ("{", "can't be read as an index"),
    ("[]", 'it has no "weight_map"'),
    ('{"weight_map": {"head.weight": 3}}', 'it has no "weight_map" of names and files'),
    ('{"weight_map": {"head.weight": "../x.safetensors"}}', "lies outside the root folder"),
    ('{"weight_map": {"head.weight": "/etc/passwd"}}', "lies outside the root folder"),
    ('{"weight_map": {"head.weight": "link.safetensors"}}', "lies outside the root folder"),
    ('{"weight_map": {"head.weight": "empty.safetensors"}}', "which the index says it has"),
    ("[" * 100_000, "can't be read as an index"),
])  # fmt: skip
def test_a_bad_index(here: Path, index: str, message: str) -> None:
    root = here / "root"
    root.mkdir()
    save_file({"head.weight": torch.ones(3, 4)}, here / "x.safetensors")
    save_file({"w": torch.ones(3, 4)}, root / "empty.safetensors")
    (root / "link.safetensors").symlink_to(here / "x.safetensors")
    (root / "i.index.json").write_text(index)
    assert message in said(Two(), 'net.head.weight = load("i.index.json")', root=root)


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_files_of_tensors(zipped: bool) -> None:
    wanted = weights(3)
    torch.save(wanted, "x.pt", _use_new_zipfile_serialization=zipped)
    torch.save({"model": wanted, "step": 3, "name": "a"}, "y.ckpt", _use_new_zipfile_serialization=zipped)
    same(loaded('net = load("x.pt")'), wanted)
    same(loaded('net = load("y.ckpt", prefix="model.")'), wanted)
    same(loaded('net.head.bias = load("y.ckpt", key="model.head.bias")'), wanted, "head.bias")


class Evil:
    def __reduce__(self) -> Any:
        return (os.mkdir, ("ran",))


@pytest.mark.parametrize("suffix", ["pt", "pth", "bin", "ckpt"])
def test_a_pickle_runs_no_code(suffix: str) -> None:
    for zipped in (True, False):
        torch.save({"head.weight": Evil()}, f"x.{suffix}", _use_new_zipfile_serialization=zipped)
        assert "reading it could run code" in said(Two(), f'net.head.weight = load("x.{suffix}")')
    assert not os.path.exists("ran")
    Path(f"x.{suffix}").write_bytes(b"nothing of the kind")
    assert "error[unreadable-file]" in said(Two(), f'net.head.weight = load("x.{suffix}")')
    torch.save([1, 2], f"x.{suffix}")
    assert "it holds list" in said(Two(), f'net.head.weight = load("x.{suffix}")')


def test_a_file_that_changes_after_the_plan() -> None:
    for suffix in ("safetensors", "pt"):
        write = save_file if suffix == "safetensors" else torch.save
        write({"head.bias": torch.ones(3)}, f"x.{suffix}")  # type: ignore[operator]
        net = Two()
        plan = initdsl.plan(net, f'*.* = 0; net.head.bias = load("x.{suffix}")')
        write({"head.bias": torch.ones(1)}, f"x.{suffix}")  # type: ignore[operator]
        with pytest.raises(initdsl.ApplyError, match="has shape"):
            plan.apply()
        assert net.head.weight.abs().sum() > 0


# ---- in expressions


@pytest.mark.parametrize("change", ["other values", "cut short", "replaced"])
@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_a_file_that_changes_while_it_is_read(suffix: str, change: str, here: Path) -> None:
    """Between its first tensor and its second. A pickled one is read at once; a safetensors file may not change."""
    path = here / f"w.{suffix}"
    first = weights(1)
    save = save_file if suffix == "safetensors" else torch.save
    save(first, path)

    def meanwhile(entry: Any) -> None:
        if entry.label != "net.layers[0].weight":
            return
        if change == "cut short":
            os.truncate(path, path.stat().st_size // 2)
        elif change == "replaced":
            save(weights(2), here / "other")
            os.replace(here / "other", path)
        else:
            data = bytearray(path.read_bytes())
            data[-16:] = bytes(16)
            path.write_bytes(data)

    net = Two()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    rules = f'net.* = load("w.{suffix}")'
    if suffix == "pt":
        initdsl.apply(net, rules, on_init=meanwhile)
        expected = first
    else:
        with pytest.raises(initdsl.ApplyError, match=r"w\.safetensors` changed since it was opened first"):
            initdsl.apply(net, rules, on_init=meanwhile)
        expected = before
    assert all(torch.equal(value, expected[name]) for name, value in net.state_dict().items())


def test_a_file_that_changes_under_the_reading_of_a_tensor(here: Path) -> None:
    (here / "x").write_bytes(b"abcd")

    def read() -> None:
        with reading("x") as file:
            assert file.read(2) == b"ab"
            os.truncate("x", 3)

    with pytest.raises(OSError, match="`x` changed while it was read"):
        read()


@pytest.mark.parametrize("index", [
    (), (slice(1, 4),), (slice(None), slice(2, 5)), (slice(2, 6), slice(0, 7), slice(1, 2)), (slice(3, 3),),
])  # fmt: skip
@pytest.mark.parametrize("most", [4, 20, 1 << 20])
def test_parts_of_a_tensor(index: tuple[slice, ...], most: int, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "CHUNK", most)
    values = {
        "a": torch.randn(6, 7, 3), "b": torch.randn(6, 7, 3).bfloat16(), "c": torch.arange(6 * 7 * 3).reshape(6, 7, 3),
    }  # fmt: skip
    save_file(values, "x.safetensors")
    store = safetensors_files.Safetensors("x.safetensors", ["x.safetensors"])
    for name, value in values.items():
        assert torch.equal(store.read(name, index), value[index])
        assert store.read(name, index).dtype == value.dtype


def test_a_number_of_a_file(here: Path) -> None:
    save_file({"step": torch.tensor(3.5), "none": torch.zeros(0, 4)}, "x.safetensors")
    store = safetensors_files.Safetensors("x.safetensors", ["x.safetensors"])
    assert torch.equal(store.read("step"), torch.tensor(3.5))
    assert store.read("none").shape == (0, 4)


def test_a_loaded_tensor_in_an_expression() -> None:
    save_file({"head.weight": torch.full((3, 4), 2.0), "rows": torch.arange(12.0).view(3, 4)}, "x.safetensors")
    for seed in (None, 1):
        net = Two()
        initdsl.apply(net, 'net.head.weight = 2 * load("x.safetensors") + load("x.safetensors", key="rows")', seed=seed)
        assert torch.equal(net.head.weight, torch.arange(12.0).view(3, 4) + 4)
        initdsl.apply(
            net,
            'net.head.weight = load("x.safetensors", key="rows"); net.head.weight += load("x.safetensors")',
            seed=seed,
        )
        assert torch.equal(net.head.weight, torch.arange(12.0).view(3, 4) + 2)
        initdsl.apply(net, 'net.layers[0].weight[1] = load("x.safetensors", key="rows")[2] - 1', seed=seed)
        assert net.layers[0].weight[1].tolist() == [7, 8, 9, 10]
    assert "doesn't fit" in said(Two(), 'net.head.bias = load("x.safetensors", key="rows") + 0')
    assert "`missing=skip` needs `load` alone" in said(Two(), 'net.head.bias = 2 * load("x.safetensors", missing=skip)')


# ---- tables of another size


def test_resize_grid_is_timms(torchvision_shim: None) -> None:
    resample = pytest.importorskip("timm.layers").resample_abs_pos_embed
    torch.manual_seed(0)
    cases: list[tuple[int, tuple[int, int], tuple[int, int], str, dict[str, Any]]] = [
        (1, (4, 4), (6, 6), "prefix=1", {}),
        (0, (6, 6), (3, 3), "", {}),
        (2, (5, 5), (4, 7), "prefix=2, grid=(4, 7)", {}),
        (1, (3, 8), (6, 6), "1, old_grid=(3, 8)", {}),
        (1, (6, 6), (4, 4), "prefix=1, mode=bilinear, antialias=false", {"interpolation": "bilinear", "antialias": False}),
        (0, (6, 6), (4, 4), "mode=bilinear", {"interpolation": "bilinear"}),
        (1, (4, 4), (4, 4), "prefix=1", {}),
    ]  # fmt: skip
    for prefix, old, new, arguments, options in cases:
        table = torch.randn(1, prefix + math.prod(old), 8)
        expected = resample(table, list(new), list(old), num_prefix_tokens=prefix, **options)
        net = Tensors(old=table, new=torch.zeros(1, prefix + math.prod(new), 8))
        initdsl.apply(net, f"net.new = resize_grid(net.old{', ' * bool(arguments)}{arguments})")
        assert torch.equal(net.new, expected), arguments


def test_a_timm_model_at_another_resolution(torchvision_shim: None) -> None:
    timm = pytest.importorskip("timm")
    small, large = (
        timm.create_model("vit_tiny_patch16_224", img_size=size, depth=1, num_classes=3) for size in (32, 64)
    )
    save_file(small.state_dict(), "small.safetensors")
    initdsl.apply(
        large,
        'net = load("small.safetensors", map={"pos_embed": "old_pos_embed"}, missing=skip)\n'
        'net.pos_embed = resize_grid(load("small.safetensors", key="pos_embed"), prefix=1)',
    )
    expected = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=1, num_classes=3)
    from timm.models.vision_transformer import checkpoint_filter_fn

    expected.load_state_dict(checkpoint_filter_fn(small.state_dict(), expected))
    assert all(torch.equal(v, expected.state_dict()[n]) for n, v in large.state_dict().items())


def test_resize_rows_is_transformers(torchvision_shim: None) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(vocab_size=40, n_positions=8, n_embd=6, n_layer=1, n_head=2)
    model = transformers.GPT2LMHeadModel(config)
    torch.manual_seed(0)
    nn.init.normal_(model.transformer.wte.weight, 0.3, 1)
    save_file({"wte.weight": model.transformer.wte.weight.detach().clone()}, "x.safetensors")
    grown, drawn, cut = (
        transformers.GPT2LMHeadModel(transformers.GPT2Config(**{**config.to_dict(), "vocab_size": n}))
        for n in (55, 55, 30)
    )
    table = 'load("x.safetensors", key="wte.weight")'
    initdsl.apply(grown, f"net.transformer.wte.weight = resize_rows({table})")
    initdsl.apply(cut, f"net.transformer.wte.weight = resize_rows({table})", seed=1)
    initdsl.apply(
        drawn, f"net.transformer.wte.weight ~ normal(0, 0.02)\nnet.transformer.wte.weight[0:40] = {table}", seed=1
    )
    old = model.transformer.wte.weight.detach().clone()
    smaller = model.resize_token_embeddings(30).weight.detach().clone()
    assert torch.equal(cut.transformer.wte.weight, smaller)
    model.transformer.wte.weight = nn.Parameter(old)
    model.transformer.wte.num_embeddings = 40
    model.tie_weights()
    theirs = model.resize_token_embeddings(55, mean_resizing=True).weight.detach()
    ours = grown.transformer.wte.weight.detach()
    assert torch.equal(ours[:40], theirs[:40])
    torch.testing.assert_close(ours[40:], theirs[40:], atol=3e-4, rtol=0)  # theirs have a noise of 1e-9 covariances
    assert torch.equal(drawn.transformer.wte.weight[:40], old)
    assert 0.01 < float(drawn.transformer.wte.weight[40:].detach().std()) < 0.03  # mean_resizing=False: the model's own


@pytest.mark.parametrize(("rules", "message"), [
    ("net.new = resize_grid(net.old)", "17 rows are no square grid"),
    ("net.new = resize_grid(net.old, prefix=1, grid=(3, 3))", "`grid` must be two sizes whose product is 36"),
    ("net.new = resize_grid(net.old, prefix=-1)", "`prefix` must be an integer, at least 0"),
    ("net.new = resize_grid(net.old, prefix=1, mode=cubic)", "`mode` must be one of `bicubic`"),
    ("net.new = resize_grid(net.old, 1, prefix=1)", "`prefix` is given twice"),
    ("net.new = resize_grid(prefix=1, net.old)", "a positional argument stands before"),
    ("net.new = resize_grid()", "takes 1 to 6 arguments, got 0"),
    ("net.new = resize_grid(3)", "needs a tensor"),
    ("net.flat = resize_grid(net.old, prefix=1)", "only the last dimension but one may differ"),
    ("net.new = resize_rows(net.old)", "only dimension 0 may differ"),
    ("net.new = net.old", "doesn't fit"),
])  # fmt: skip
def test_tables_that_can_t_be_resized(rules: str, message: str) -> None:
    net = Tensors(old=torch.randn(1, 17, 8), new=torch.zeros(1, 37, 8), flat=torch.zeros(37, 8))
    assert message in said(net, rules)


def test_resizing_on_the_meta_device_is_checked() -> None:
    with torch.device("meta"):
        net = Tensors(old=torch.zeros(1, 17, 8), new=torch.zeros(1, 37, 8))
    assert initdsl.plan(net, "net.new = resize_grid(net.old, prefix=1)")["new"].status == "set"
    with pytest.raises(initdsl.InitDSLError, match="square"):
        initdsl.plan(net, "net.new = resize_grid(net.old)")


# ---- shapes of another network


def manifest_of(net: nn.Module, path: Path) -> None:
    path.write_text(json.dumps(describe(net)[0].to_manifest()))


def test_base_shape_is_that_of_the_manifest(tmp_path: Path) -> None:
    manifest_of(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8)), tmp_path / "base.json")
    net = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 32))
    rules = """
    let base = "base.json"
    let wider = shape[0] / base_shape(base)[0]
    *.bias = wider
    net[0].weight = base_shape(base)[1]
    net[2].weight = base_shape("base.json")[1] / shape[1]
    """
    initdsl.apply(net, rules, root=tmp_path, strict=True)
    assert net[0].bias.unique().tolist() == [4]
    assert net[0].weight.unique().tolist() == [4]
    assert net[2].weight.unique().tolist() == [0.25]
    with torch.device("meta"):
        again = initdsl.plan(nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 16)), rules, root=tmp_path)
    assert str(again["2.bias"].distribution) == "2"


@pytest.mark.parametrize(
    ("value", "error", "said"),
    [
        ('base_shape("base.json")[0]', initdsl.ResolveError, "`base.json` has no tensor `2.weight`"),
        ('base_shape("none.json")[0]', initdsl.RuleError, "there is no file"),
        ('base_shape("weights.json")[0]', initdsl.RuleError, "can't be read as a manifest"),
        ('base_shape("../base.json")[0]', initdsl.RuleError, "outside the root"),
        ("base_shape(3)[0]", initdsl.RuleError, "needs the path of a manifest, this is 3"),
        ("base_shape()[0]", initdsl.RuleError, "takes 1 argument, got 0"),
        ('base_shape("base.json")', initdsl.InitDSLError, "a tuple"),
        ('base_shape("base.json")[2]', initdsl.InitDSLError, "out of range for a tuple of 2"),
    ],
)
def test_base_shapes_that_cant_be(value: str, error: type[Exception], said: str, tmp_path: Path) -> None:
    manifest_of(nn.Sequential(nn.Linear(4, 8)), tmp_path / "base.json")
    (tmp_path / "weights.json").write_text('{"weight_map": {}}')
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8))
    where = "2" if "no tensor" in said else "0"
    with pytest.raises(error, match=re.escape(said)):
        initdsl.apply(net, f"net[{where}].weight = {value}", root=tmp_path)
