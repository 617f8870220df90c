"""Chapter 3 and 4: statements, the cascade, defaults, copies, loading, scopes; against torch itself."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import initdsl
from tests.support.nets import Tensors, Tower, filled, mlp, named, names_of


def assert_same(a: nn.Module, b: nn.Module) -> None:
    """Bit for bit, buffers included."""
    x, y = named(a), named(b)
    assert x.keys() == y.keys()
    for name in x:
        assert torch.equal(x[name], y[name]), name


def twice(net: nn.Module, rules: str, by_hand, **options) -> None:
    """The rules under a seed, and hand-written code under the same one."""
    other = copy.deepcopy(net)
    torch.manual_seed(11)
    initdsl.apply(net, rules, **options)
    after = torch.random.get_rng_state()
    torch.manual_seed(11)
    with torch.no_grad():
        by_hand(other)
    assert_same(net, other)
    assert torch.equal(after, torch.random.get_rng_state())


class TestBitForBit:
    """Unseeded, a file gives what the equivalent `net.apply(init_fn)` gives."""

    def test_by_type(self) -> None:
        def init(m: nn.Module) -> None:
            if type(m) is nn.Linear:
                nn.init.normal_(m.weight, 0, 0.01)
                if m.bias is not None:
                    nn.init.zeros_(m.bias)

        twice(Tower(), "Linear.weight ~ normal(0, 0.01); Linear.bias = 0", lambda n: n.apply(init))

    def test_order_is_the_networks_not_the_files(self) -> None:
        def init(m: nn.Module) -> None:
            if type(m) is nn.Linear:
                nn.init.xavier_uniform_(m.weight)
                nn.init.uniform_(m.bias, -1, 1) if m.bias is not None else None
            elif type(m) is nn.Embedding:
                nn.init.normal_(m.weight, std=0.02)
                m.weight[m.padding_idx].zero_()

        rules = """
        Embedding.weight ~ normal(std=0.02); Embedding.weight[padding_idx] = 0
        Linear.bias? ~ uniform(-1, 1)
        Linear.weight ~ xavier_uniform()
        """
        twice(Tower(), rules, lambda n: n.apply(init))

    @pytest.mark.parametrize(
        ("call", "by_hand"),
        [
            ("uniform(-1, 2)", lambda w: nn.init.uniform_(w, -1, 2)),
            ("normal(1, 0.5)", lambda w: nn.init.normal_(w, 1, 0.5)),
            ("trunc_normal(0, 1, -1, 0.5)", lambda w: nn.init.trunc_normal_(w, 0, 1, -1, 0.5)),
            ("xavier_uniform(gain=2)", lambda w: nn.init.xavier_uniform_(w, 2)),
            ("xavier_normal()", nn.init.xavier_normal_),
            ("kaiming_uniform(sqrt(5))", lambda w: nn.init.kaiming_uniform_(w, 5**0.5)),
            (
                "kaiming_normal(mode=fan_out, nonlinearity=relu)",
                lambda w: nn.init.kaiming_normal_(w, 0, "fan_out", "relu"),
            ),
            (
                'kaiming_normal(mode="fan_out", nonlinearity="tanh")',
                lambda w: nn.init.kaiming_normal_(w, 0, "fan_out", "tanh"),
            ),
            ("orthogonal(gain=0.5)", lambda w: nn.init.orthogonal_(w, 0.5)),
            ("sparse(0.5, std=2)", lambda w: nn.init.sparse_(w, 0.5, 2)),
            ("eye()", nn.init.eye_),
            ("constant(3)", lambda w: nn.init.constant_(w, 3)),
            ("zeros()", nn.init.zeros_),
            ("ones()", nn.init.ones_),
        ],
    )
    def test_every_initializer_of_torch(self, call: str, by_hand) -> None:
        rule = f"net.weight ~ {call}"
        twice(nn.Linear(6, 5), rule, lambda n: by_hand(n.weight))

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_dtypes(self, dtype: torch.dtype) -> None:
        net = nn.Linear(6, 5).to(dtype)
        twice(
            net,
            "net.weight ~ normal(0, 0.5); net.bias ~ uniform(-1, 1)",
            lambda n: (n.weight.normal_(0, 0.5), n.bias.uniform_(-1, 1)),
        )

    def test_dirac(self) -> None:
        twice(nn.Conv2d(6, 6, 3), "Conv2d.weight = dirac(groups=2)", lambda n: nn.init.dirac_(n.weight, 2))

    def test_a_losing_rule_draws_nothing(self) -> None:
        rules = "Linear.weight ~ normal(); *.* ~ uniform(); Linear.* = 0; net[2].weight ~ normal()"
        twice(mlp(), rules, lambda n: ([nn.init.zeros_(p) for p in n.parameters()], n[2].weight.normal_()))

    def test_drawn_edits_in_file_order(self) -> None:
        rules = (
            "net.weight ~ normal(0, 1); net.weight += normal(0, 0.01); net.weight *= uniform(1, 2); net.weight -= 0.5"
        )

        def by_hand(n: nn.Linear) -> None:
            n.weight.normal_(0, 1)
            n.weight.add_(torch.empty(4, 3).normal_(0, 0.01))
            n.weight.mul_(torch.empty(4, 3).uniform_(1, 2))
            n.weight.sub_(0.5)

        twice(nn.Linear(3, 4), rules, by_hand)

    def test_a_drawn_slice_is_a_tensor_of_its_own(self) -> None:
        def by_hand(n: nn.Linear) -> None:
            n.weight[0:3] = nn.init.xavier_uniform_(torch.empty(3, 4))
            n.weight[3:, ::2] = nn.init.kaiming_normal_(torch.empty(6, 2))

        twice(nn.Linear(4, 9), "net.weight[0:3] ~ xavier_uniform(); net.weight[3:, ::2] ~ kaiming_normal()", by_hand)

    def test_expression_draws(self) -> None:
        def by_hand(n: nn.Linear) -> None:
            n.weight.copy_(torch.empty(4, 3).normal_(0, 1) * 0.02 + torch.empty(4, 3).uniform_(0, 1))

        twice(nn.Linear(3, 4), "net.weight ~ normal(0, 1) * 0.02 + uniform()", by_hand)


class TestCascade:
    def test_last_whole_rule_wins_and_edits_after_it_run(self) -> None:
        net = filled(mlp())
        rules = """
        net[0].weight += 100              # before the base: no say
        net[0].weight[0] = 100
        Linear.weight = 1
        net[0].weight += 1; net[0].weight *= 3
        net[0].weight[0, 0] = 42; net[0].weight[1] -= 1
        net[2].weight = 5
        Linear.weight? /= 2
        """
        initdsl.apply(net, rules)
        expected = torch.full((4, 4), 6.0)
        expected[0, 0] = 42
        expected[1] -= 1
        assert torch.equal(net[0].weight.detach(), expected / 2)
        assert (net[2].weight == 2.5).all()
        assert (net[4].weight == 0.5).all()

    def test_no_specificity(self) -> None:
        net = filled(mlp())
        initdsl.apply(net, "net[0].weight = 1; *.* = 2")
        assert (net[0].weight == 2).all()

    def test_keep_cancels_what_came_before(self) -> None:
        net = filled(mlp())
        report = initdsl.apply(net, "Linear.* = 0; keep net[2]; net[2].bias += 1; keep net[4].weight")
        assert (net[2].weight == 7).all()
        assert (net[2].bias == 8).all()
        assert (net[4].weight == 7).all()
        assert not net[4].bias.any()
        assert report["2.weight"].status == "kept"

    def test_a_whole_value_that_reads_it_is_an_edit(self) -> None:
        for own in ("it", "weight", "net[0].weight", "where(it > 0, it, 0 * weight)"):
            net = filled(mlp())
            report = initdsl.apply(net, f"net[0].weight = 3; net[0].weight = {own} * 2")
            assert (net[0].weight == 6).all(), own
            assert report["0.weight"].status == "set"
            assert initdsl.apply(net, f"net[0].weight = {own} * 2").partial == ["0.weight"]

    def test_fans_of_itself_are_no_values(self) -> None:
        report = initdsl.apply(
            mlp(), "Linear.weight = 3; Linear.weight ~ normal(0, 1 / fan_in(weight)); Linear.bias = fan_in(weight)"
        )
        assert len(report["0.weight"].statements) == 1
        assert report.partial == []

    def test_partly_covered(self) -> None:
        net = filled(mlp())
        report = initdsl.apply(net, "net[0].weight[0] = 0; net[0].bias[:] = 0; net[2].weight += 1")
        assert report.partial == ["0.weight", "2.weight"]
        assert report["0.bias"].status == "set"
        assert "2.bias" in report.uncovered

    def test_slices(self) -> None:
        net = filled(nn.Linear(4, 6))
        rules = """
        net.weight[0, 0] = 42; net.weight[:] += 1; net.weight[1:3, ::2] = 0; net.weight[-1] = [1, 2, 3, 4]
        net.weight[..., 3] -= 1; net.weight[4:in_features + 1, 1] = -5; net.bias[shape[0] - 1] = 9
        """
        initdsl.apply(net, rules)
        w = torch.full((6, 4), 7.0)
        w[0, 0] = 42
        w[:] += 1
        w[1:3, ::2] = 0
        w[-1] = torch.tensor([1.0, 2, 3, 4])
        w[..., 3] -= 1
        w[4:5, 1] = -5
        assert torch.equal(net.weight.detach(), w)
        assert net.bias[5] == 9

    def test_one_line(self) -> None:
        net = mlp(layers=3)
        initdsl.apply(net, "Linear.weight ~ normal(0, 0.01); net[2].weight = 42; tie net[2] net[4]")
        assert net[2].weight is net[4].weight
        assert (net[4].weight == 42).all()
        assert net[0].weight.abs().max() < 0.1

    def test_magnitude_example(self) -> None:
        net = mlp()
        initdsl.apply(net, "Linear.weight ~ uniform(-10, 10)\nLinear.weight *= abs(weight) >= 5")
        for w in (net[0].weight, net[2].weight):
            assert bool(((w == 0) | ((w.abs() >= 5) & (w.abs() <= 10))).all())
            assert (w == 0).any()
            assert (w != 0).any()


class TestReaders:
    def test_siblings_at_their_final_value(self) -> None:
        net = filled(mlp())
        initdsl.apply(net, "Linear.weight = sum(bias); Linear.bias = 1; Linear.bias *= 2")
        assert (net[0].weight == 8).all()

    def test_paths_at_their_final_value(self) -> None:
        net = filled(mlp())
        initdsl.apply(
            net,
            "net[0].weight = net[2].weight + 1; net[2].weight = net[4].weight * 2; net[4].weight = 5; net[4].weight += 1",
        )
        assert (net[2].weight == 12).all()
        assert (net[0].weight == 13).all()

    def test_a_default_is_read_after_it_is_made(self) -> None:
        net = filled(mlp())
        initdsl.apply(net, "net[0].weight = net[4].weight; default net[4]")
        assert torch.equal(net[0].weight, net[4].weight)
        assert net[4].weight.std() > 0

    @pytest.mark.parametrize(
        "rules",
        [
            "net[0].weight = net[2].weight; net[2].weight = net[0].weight",
            "net[0].weight = net[2].weight; net[2].weight = net[4].weight; net[4].weight += net[0].weight",
            "copy net[0] net[2]; copy net[2] net[0]",
            "Linear.weight = bias; Linear.bias = sum(weight)",
        ],
    )
    def test_circles(self, rules: str) -> None:
        with pytest.raises(initdsl.ResolveError) as caught:
            initdsl.apply(mlp(), rules)
        assert names_of(caught.value) == ["circular-read"]

    def test_own_slices(self) -> None:
        net = filled(nn.Linear(4, 4))
        initdsl.apply(net, "net.weight = index(0); net.weight = it[3]")
        assert (net.weight == 3).all()
        initdsl.apply(net, "net.weight = index(0); net.weight[0:3] = weight[1:4]")
        assert torch.equal(net.weight[:, 0].detach(), torch.tensor([1.0, 2, 3, 3]))

    @pytest.mark.parametrize("seed", [None, 5])
    def test_an_initializer_takes_an_argument_that_is_read(self, seed: int | None) -> None:
        read, said = (Tensors(w=torch.zeros(4, 4), v=torch.full((2,), 1.5)) for _ in range(2))
        torch.manual_seed(0)
        initdsl.apply(read, "net.w ~ orthogonal(gain=sum(net.v)); keep net.v", seed=seed)
        torch.manual_seed(0)
        initdsl.apply(said, "net.w ~ orthogonal(gain=3); keep net.v", seed=seed)
        assert torch.equal(read.w, said.w)
        assert read.w.any()


class TestDefault:
    @pytest.mark.parametrize(
        "make",
        [
            lambda: nn.Linear(5, 3), lambda: nn.Conv2d(4, 6, 3), lambda: nn.LSTM(3, 4, 2), lambda: nn.Embedding(5, 3, padding_idx=1),
            lambda: nn.LayerNorm(4), lambda: nn.BatchNorm2d(4), lambda: nn.Bilinear(2, 3, 4), lambda: nn.PReLU(2), lambda: nn.GRUCell(2, 3),
        ],
    )  # fmt: skip
    def test_is_reset_parameters(self, make) -> None:
        net = make()
        twice(filled(net), "default net", lambda n: n.reset_parameters())

    def test_is_what_a_fresh_module_has(self) -> None:
        for make in (
            lambda: nn.Linear(5, 3),
            lambda: nn.MultiheadAttention(8, 2),
            mlp,
            lambda: nn.MultiheadAttention(8, 2, kdim=4, vdim=6),
        ):
            torch.manual_seed(2)
            fresh = make()
            net = copy.deepcopy(filled(copy.deepcopy(fresh)))
            torch.manual_seed(2)
            initdsl.apply(net, "default net")
            for (name, a), b in zip(net.named_parameters(), fresh.parameters(), strict=True):
                assert a.std().item() == pytest.approx(b.std().item(), rel=0.8, abs=1e-9), name
                assert bool(a.any()) == bool(b.any()), name

    def test_attention_is_bit_for_bit_torchs(self) -> None:
        def by_hand(n: nn.Module) -> None:
            n.out_proj.reset_parameters()
            n._reset_parameters()

        twice(filled(nn.MultiheadAttention(8, 2)), "default net", by_hand)
        twice(filled(nn.MultiheadAttention(8, 2)), "*.*? = 3; default net.**", by_hand)

    def test_transformer(self) -> None:
        def by_hand(n: nn.Module) -> None:
            n.apply(lambda m: (getattr(m, "reset_parameters", None) or getattr(m, "_reset_parameters", lambda: None))())

        twice(filled(nn.Transformer(8, 2, 1, 1, 16)), "default net", by_hand)

    def test_an_edit_stands_on_the_default_even_of_a_parent(self) -> None:
        net = nn.Transformer(8, 2, 1, 1, 16)
        other = copy.deepcopy(net)
        torch.manual_seed(0)
        initdsl.apply(
            net,
            "default net; net.encoder.layers[0].linear1.weight *= 2; net.decoder.norm.bias = net.encoder.layers[0].linear1.weight[0, 0]",
        )
        torch.manual_seed(0)
        initdsl.apply(other, "default net")
        assert torch.equal(net.encoder.layers[0].linear1.weight, other.encoder.layers[0].linear1.weight * 2)
        assert (net.decoder.norm.bias == net.encoder.layers[0].linear1.weight[0, 0]).all()

    def test_of_one_parameter_leaves_the_others(self) -> None:
        net = filled(mlp())
        initdsl.apply(
            net, "default net[0].bias; default net[2].weight; net[2].bias = 3; net[4].* = 1; default net[4].bias"
        )
        assert (net[0].weight == 7).all()
        assert (net[0].bias != 7).all()
        assert (net[2].bias == 3).all()
        assert net[2].weight.std() > 0
        assert (net[4].weight == 1).all()
        assert net[4].bias.std() > 0

    def test_embedding_padding_row(self) -> None:
        net = filled(Tower())
        initdsl.apply(net, "default Embedding")
        assert not net.embed.weight[2].any()

    def test_where_there_is_none(self) -> None:
        with pytest.raises(initdsl.ResolveError) as caught:
            initdsl.apply(Tensors(w=torch.ones(2)), "default net.w")
        assert names_of(caught.value) == ["no-default"]
        net = Tensors(w=torch.ones(2), v=torch.ones(2))
        initdsl.apply(net, "default net.w; net.* = 3")
        assert (net.w == 3).all()


class TestCopy:
    def test_modules_by_relative_name(self) -> None:
        net = filled(Tower())
        initdsl.apply(
            net,
            "net.layers[0].** ~ normal(); copy net.layers[0] net.layers[1] net.layers[2]; net.layers[2].proj.bias = 0",
        )
        for name, parameter in net.layers[0].named_parameters():
            other = dict(net.layers[1].named_parameters())[name]
            assert torch.equal(parameter, other)
            assert parameter is not other
        assert not net.layers[2].proj.bias.any()

    def test_parameters(self) -> None:
        net = filled(mlp())
        initdsl.apply(net, "copy net[0].weight net[2].weight net[4].weight; net[0].weight = 5; net[4].weight += 1")
        assert (net[2].weight == 5).all()
        assert (net[4].weight == 6).all()

    def test_by_index(self) -> None:
        net = nn.Module()
        net.a, net.b = (nn.ModuleList(nn.Linear(2, 2) for _ in range(3)) for _ in range(2))
        initdsl.apply(net, "net.a[i].weight = i; copy net.a[i] net.b[i]")
        for i in range(3):
            assert (net.b[i].weight == i).all()
            assert torch.equal(net.a[i].bias, net.b[i].bias)

    @pytest.mark.parametrize(
        ("rules", "name"),
        [
            ("copy net[0].weight net[0].bias", "copy-mismatch"),
            ("copy net[0] net[2].weight", "copy-mismatch"),
            ("copy net[0] net", "copy-mismatch"),
            ("copy Linear.weight net[0].weight", "copy-mismatch"),
            ("copy net[0].weight[0] net[2].bias", "bad-index"),
            ("copy net[0].bias net[2].weight[0]", "bad-index"),
        ],
    )
    def test_mismatches(self, rules: str, name: str) -> None:
        with pytest.raises(initdsl.ResolveError) as caught:
            initdsl.apply(mlp(), rules)
        assert names_of(caught.value) == [name]


class TestLoad:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        tensors = {
            "w": torch.arange(16.0).reshape(4, 4),
            "half": torch.ones(4, dtype=torch.float16),
            "0.weight": torch.full((4, 4), 2.0),
        }
        tensors |= {f"old.{n}": torch.full_like(p, 3.0) for n, p in mlp().named_parameters()}
        save_file({k: v.contiguous() for k, v in tensors.items()}, tmp_path / "x.safetensors")
        (tmp_path / "bad.safetensors").write_bytes(b"\xff" * 32)
        return tmp_path

    def test_key_prefix_and_names(self, folder: Path) -> None:
        net = filled(mlp())
        rules = """
        net[0].weight = load("x.safetensors", key="w"); net[0].bias = load("x.safetensors", key="half")
        net[2] = load("x.safetensors", prefix="old.2."); net[4].bias[0:4] = load("x.safetensors", key="half")
        """
        initdsl.apply(net, rules, root=folder)
        assert torch.equal(net[0].weight.detach(), torch.arange(16.0).reshape(4, 4))
        assert (net[0].bias == 1).all()
        assert (net[2].weight == 3).all()
        initdsl.apply(
            net, 'net = load("x.safetensors", prefix="old."); net[0].weight = load("x.safetensors")', root=folder
        )
        assert (net[4].bias == 3).all()
        assert (net[0].weight == 2).all()

    def test_relative_to_the_file(self, folder: Path) -> None:
        inner = folder / "rules"
        inner.mkdir()
        (inner / "a.init").write_text('net[0].weight = load("../x.safetensors", key="w")\n')
        (folder / "b.init").write_text('use "rules/a.init"\n')
        net = mlp()
        initdsl.apply(net, folder / "b.init")
        assert net[0].weight[0, 1] == 1

    @pytest.mark.parametrize(
        ("call", "name"),
        [
            ('load("nope.safetensors")', "unreadable-file"),
            ('load("bad.safetensors", key="w")', "unreadable-file"),
            ('load("../x.safetensors")', "outside-root"),
            ('load("/etc/passwd")', "outside-root"),
            ('load("x.safetensors", key="nope")', "bad-load"),
            ('load("x.safetensors", key="half")', "bad-shape"),
            ('load("x.safetensors", kee="w")', "bad-load"),
            ("load()", "bad-load"),
            ("load(3)", "bad-load"),
        ],
    )
    def test_refused(self, folder: Path, call: str, name: str) -> None:
        with pytest.raises(initdsl.InitDSLError) as caught:
            initdsl.apply(mlp(), f"net[0].weight = {call}", root=folder)
        assert names_of(caught.value) == [name]
        with pytest.raises(initdsl.RuleError):
            initdsl.apply(mlp(), f"net[0].weight ~ {call}", root=folder)


class TestLetVarsUse:
    def test_let_is_a_formula_evaluated_where_used(self) -> None:
        net = Tower()
        initdsl.apply(
            net, "let s = fan_in + 100 * in_features; let t = s + k; let k = i; net.layers[i].proj.weight = t"
        )
        for i, layer in enumerate(net.layers):
            assert (layer.proj.weight == 404 + i).all()

    def test_scope_of_a_block(self) -> None:
        net = filled(mlp())
        initdsl.apply(
            net, "let s = 1; net[0] { let s = 2; .weight = s }; net[2].weight = s; let s = 3; net[4].weight = s"
        )
        assert [net[k].weight[0, 0].item() for k in (0, 2, 4)] == [2, 1, 3]

    def test_vars_override_every_let(self) -> None:
        net = filled(mlp())
        initdsl.apply(net, "let s = 1; net[0].weight = s; net[2] { let s = 2; .weight = s }", vars={"s": 9})
        assert (net[0].weight == 9).all()
        assert (net[2].weight == 9).all()

    @pytest.mark.parametrize(
        ("variables", "name"),
        [
            ({"sdt": 1}, "unknown-variable"), ({"std": object()}, "bad-variable"), ({"std": 2**70}, "bad-variable"),
            ({"std": (1, object())}, "bad-variable"), ({"std": torch.ones(2, dtype=torch.cfloat)}, "bad-variable"), ({"std": "a"}, "bad-argument"),
            ({"std": float("nan")}, "overflow"), ({"std": None}, "bad-argument"), ({"std": 1e39}, "overflow"),
        ],
    )  # fmt: skip
    def test_bad_vars(self, variables: dict, name: str) -> None:
        net = filled(mlp())
        with pytest.raises(initdsl.RuleError) as caught:
            initdsl.apply(net, "let std = 1; net[0].weight = 5; net[2].weight = std", vars=variables)
        assert name in names_of(caught.value)
        assert (net[0].weight == 7).all()

    @pytest.mark.parametrize("value", [2**63 - 1, -(2**63)])
    def test_vars_have_64_bits(self, value: int) -> None:
        net = Tensors(count=torch.zeros(2, dtype=torch.int64))
        rules = "let n = 0; net.count = n"
        initdsl.apply(net, rules, vars={"n": value})
        assert net.count.tolist() == [value, value]
        with pytest.raises(initdsl.RuleError) as caught:
            initdsl.apply(net, rules, vars={"n": value + (1 if value > 0 else -1)})
        assert "bad-variable" in names_of(caught.value)

    def test_near_variable(self) -> None:
        with pytest.raises(initdsl.RuleError, match="did you mean `std`"):
            initdsl.apply(mlp(), "let std = 1; Linear.weight = std", vars={"sdt": 1})

    @pytest.mark.parametrize(
        "rules",
        [
            "let a = a + 1; Linear.weight = a",
            "let a = b; let b = a; Linear.weight = b",
            "let a = b; let b = c; let c = a * 2; Linear.weight ~ normal(0, a)",
        ],
    )
    def test_circles(self, rules: str) -> None:
        with pytest.raises(initdsl.RuleError) as caught:
            initdsl.apply(mlp(), rules)
        assert set(names_of(caught.value)) == {"circular-let"}

    def test_use(self, tmp_path: Path) -> None:
        (tmp_path / "sub").mkdir()
        (tmp_path / "base.init").write_text('let s = 1\nLinear.weight = s\nuse "sub/more.init"\n')
        (tmp_path / "sub" / "more.init").write_text("Linear.bias = s + 1\n")
        net = filled(mlp())
        report = initdsl.apply(net, 'use "base.init"; net[2].weight = s * 10', root=tmp_path)
        assert (net[0].weight == 1).all()
        assert (net[0].bias == 2).all()
        assert (net[2].weight == 10).all()
        assert report["0.bias"].statements[0][1].endswith("more.init:1")
        (tmp_path / "top.init").write_text('let s = 5\nuse "base.init"\nnet[2] { use "sub/more.init" }\n')
        initdsl.apply(net, str(tmp_path / "top.init"))
        assert (net[0].weight == 5).all()
        assert (net[2].bias == 6).all()

    def test_one_file_used_twice_sees_what_stands_before_each(self, tmp_path: Path) -> None:
        (tmp_path / "add.init").write_text("net[0].weight += s\n")
        net = filled(mlp(), 0)
        initdsl.apply(net, 'let s = 1; use "add.init"; let s = 10; use "add.init"', root=tmp_path)
        assert (net[0].weight == 11).all()

    def test_names_innermost_first(self) -> None:
        class Odd(nn.Module):
            def __init__(self, **attributes: float):
                super().__init__()
                self.w = nn.Parameter(torch.zeros(2, 3))
                self.__dict__.update(attributes)

        class Outer(nn.Module):
            def __init__(self, inner: nn.Module, **attributes: float):
                super().__init__()
                self.inner = inner
                self.__dict__.update(attributes)

        def value(net: nn.Module, rules: str) -> float:
            initdsl.apply(net, rules)
            return float(net.inner.w[0, 0])

        make = lambda: Outer(Odd(fan_in=50, k=1), k=2, only=3)  # noqa: E731
        assert value(make(), "net.inner.w = fan_in") == 3  # a fact hides an attribute
        assert value(make(), "let fan_in = 9; net.inner.w = fan_in") == 9  # a let hides a fact
        assert value(make(), "net { net.inner.w = k }") == 1  # the owner before the block
        assert value(make(), "net { Odd.w = only }") == 3
        assert value(make(), "let k = 8; net { Odd.w = k }") == 8
        assert value(make(), "net.inner.w = net.k") == 2
        with pytest.raises(initdsl.InitDSLError, match="`only` has no value"):
            value(make(), "net.inner.w = only")

    def test_an_enumeration_takes_its_word_before_a_fact(self) -> None:
        report = initdsl.apply(
            nn.Linear(4, 9), "Linear.weight ~ kaiming_normal(mode=fan_out); Linear.bias = fan_out(weight)"
        )
        assert report.plan["weight"].distribution.std == pytest.approx((2 / 9) ** 0.5)


class TestNumbers:
    def test_half_edits_are_rounded_once(self) -> None:
        for dtype in (torch.float16, torch.bfloat16):
            w = (torch.arange(1, 9) / 7).to(dtype)
            net = Tensors(w=w.clone())
            initdsl.apply(net, "net.w = it / 3 + 0.1 * it; ")
            assert torch.equal(net.w.detach(), (w.float() / 3 + 0.1 * w.float()).to(dtype))
            net = Tensors(w=w.clone())
            initdsl.apply(net, "net.w *= 1.1")
            assert torch.equal(net.w.detach(), (w.float() * 1.1).to(dtype))

    def test_doubles_are_computed_in_double(self) -> None:
        net = Tensors(w=torch.ones(3, dtype=torch.float64))
        initdsl.apply(net, "net.w = it / 3 + 1e-12")
        assert torch.equal(net.w.detach(), torch.ones(3, dtype=torch.float64) / 3 + 1e-12)

    def test_integers(self) -> None:
        net = Tensors(
            i=torch.zeros(3, dtype=torch.int64), b=torch.zeros(2, dtype=torch.bool), u=torch.zeros(2, dtype=torch.uint8)
        )
        initdsl.apply(net, "net.i = 5; net.i[0] += 2; net.i *= 3; net.b = true; net.u = [0, 255]")
        assert net.i.tolist() == [21, 15, 15]
        assert net.b.all()
        assert net.u.tolist() == [0, 255]

    @pytest.mark.parametrize(
        "rule",
        [
            "net.u = 256",
            "net.u = -1",
            "net.u = [1, 256]",
            "net.u = 0.5",
            "net.u /= 2",
            "net.u ~ normal()",
            "net.u = [0.5, 1]",
            "net.b = 2",
            "net.i = inf",
        ],
    )
    def test_what_integers_cannot_hold(self, rule: str) -> None:
        net = Tensors(
            f=torch.ones(2),
            u=torch.zeros(2, dtype=torch.uint8),
            b=torch.zeros(2, dtype=torch.bool),
            i=torch.zeros(2, dtype=torch.int64),
        )
        with pytest.raises(initdsl.ResolveError) as caught:
            initdsl.apply(net, f"net.f = 5; {rule}")
        assert names_of(caught.value) == ["bad-dtype"]
        assert (net.f == 1).all()

    def test_scalars_and_empty_tensors(self) -> None:
        net = Tensors(s=torch.tensor(1.0), e=torch.zeros(0, 3), o=torch.zeros(3, 0))
        initdsl.apply(
            net,
            "net.s = 4; net.s *= 2; net.s[...] += 1; net.e ~ kaiming_normal(); net.o ~ normal(); net.o = it * 2 + 1",
        )
        assert net.s == 9
        initdsl.apply(net, "net.s ~ uniform(3, 4)")
        assert 3 <= net.s < 4

    def test_eight_bit_floats(self) -> None:
        net = Tensors(w=torch.zeros(64).to(torch.float8_e4m3fn))
        initdsl.apply(net, "net.w ~ normal(0, 1); net.w *= 2")
        assert 1 < net.w.float().std() < 3

    def test_transposed_and_channels_last_keep_their_layout(self) -> None:
        net = Tensors(t=torch.zeros(4, 6).t(), c=torch.zeros(2, 3, 4, 5).contiguous(memory_format=torch.channels_last))
        strides = net.t.stride(), net.c.stride()
        initdsl.apply(net, "net.t = index(0) + 10 * index(1); net.c ~ normal(); net.t[2] = 0")
        assert strides == (net.t.stride(), net.c.stride())
        expected = torch.arange(6.0)[:, None] + 10 * torch.arange(4.0)
        expected[2] = 0
        assert torch.equal(net.t.detach(), expected)

    def test_what_a_rule_leaves_alone(self) -> None:
        net = mlp()
        net[0].weight.requires_grad_(False)
        net[0].weight.grad = torch.ones(4, 4)
        seen = []
        net[2].weight.register_hook(seen.append)
        objects = [id(p) for p in net.parameters()]
        places = [p.data_ptr() for p in net.parameters()]
        initdsl.apply(net, "*.* ~ normal(); Linear.weight as (2, -1) += 1; Linear.weight = it * 2")
        assert objects == [id(p) for p in net.parameters()]
        assert places == [p.data_ptr() for p in net.parameters()]
        assert not net[0].weight.requires_grad
        assert (net[0].weight.grad == 1).all()
        net(torch.ones(1, 4)).sum().backward()
        assert len(seen) == 1


def test_a_load_of_modules_leaves_other_rules_strict(tmp_path: Path) -> None:
    """`load` takes modules for the parameters below them, and `=` does not, whichever comes first."""
    save_file({"weight": torch.zeros(4, 3), "bias": torch.zeros(4)}, tmp_path / "net.safetensors")
    rules = 'Linear = 0\nLinear = load("net.safetensors")'
    with pytest.raises(initdsl.ResolveError, match="is a module, and `=` needs parameters"):
        initdsl.plan(nn.Sequential(nn.Linear(3, 4)), rules, root=tmp_path)
