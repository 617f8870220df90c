"""The examples of examples/integrations run against the libraries themselves."""

from __future__ import annotations

import importlib
import importlib.util
import io
import sys
import warnings
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

import initdsl
from tests.support.processes import LONGEST

EXAMPLES = Path(__file__).parents[2] / "examples" / "integrations"
# what each needs, and what it says
SCRIPTS: dict[str, tuple[str, list[str]]] = {
    "transformers_head": (
        "transformers",
        ["the body is as saved: True", "the head is drawn: (3, 32) std 0.088", "21 new tokens: std 0.50"],
    ),
    "lightning_callback": ("lightning", ["2.bias     1      = 0", "std 0.49"]),
    "accelerate_empty": ("accelerate", ["built on meta", "filled on cpu std 0.020", "[1.0, 1.0, 1.0]"]),
    "hydra_config": ("omegaconf", ["std 0.10"]),
    "module_by_module": ("torch", ["std 0.020, left out: []"]),
}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Libraries' own warnings are theirs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def test_every_example_is_here() -> None:
    assert sorted(SCRIPTS) == sorted(path.stem for path in EXAMPLES.glob("*.py"))


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_script_runs(name: str, torchvision_shim: None) -> None:
    library, said = SCRIPTS[name]
    pytest.importorskip(library)
    module = example(name)
    out = io.StringIO()
    with redirect_stdout(out):
        module.main()
    for text in said:
        assert text in out.getvalue()


# ---- Lightning


@pytest.fixture
def lightning(torchvision_shim: None) -> Any:
    return pytest.importorskip("lightning.pytorch")


def fitted(lightning: Any, module: Any, callback: Any, folder: Path, steps: int = 1, **more: Any) -> Any:
    trainer = lightning.Trainer(
        max_steps=steps,
        accelerator="cpu",
        callbacks=[callback],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        enable_checkpointing=False,
    )
    trainer.fit(module, **more)
    return trainer


def test_the_callback_fills_once_and_a_checkpoint_counts(lightning: Any, tmp_path: Path) -> None:
    from initdsl.integrations.lightning import ApplyRules

    regression = example("lightning_callback").Regression
    callback = ApplyRules("Linear.* = 3", attribute="model")
    module = regression()
    trainer = fitted(lightning, module, callback, tmp_path)
    assert all((p == 3).all() for p in module.parameters())
    assert "configure_model" not in module.__dict__
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    with torch.no_grad():
        module.model[0].weight.fill_(8)
    fitted(lightning, module, callback, tmp_path)  # what was trained is not drawn over
    assert (module.model[0].weight == 8).all()
    again = regression()
    fitted(lightning, again, ApplyRules("Linear.* = 5", attribute="model"), tmp_path, 2, ckpt_path=tmp_path / "a.ckpt")
    assert all((p == 3).all() for p in again.parameters())


def test_the_callback_on_a_whole_module_made_in_its_constructor(lightning: Any, tmp_path: Path) -> None:
    from initdsl.integrations.lightning import ApplyRules

    class Ready(example("lightning_callback").Regression):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 1))

    module, theirs = Ready(), nn.ModuleDict({"model": nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 1))})
    rules = "net.model[0].weight ~ normal(0, 1); Linear.bias = 0; net.model[1].weight ~ xavier_uniform()"
    callback = ApplyRules(rules, seed=4)
    fitted(lightning, module, callback, tmp_path)
    initdsl.apply(theirs, rules, seed=4)
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), theirs.parameters(), strict=True))
    assert callback.report["model.0.weight"].status == "set"
    with pytest.raises(initdsl.ResolveError, match="did you mean `model`"):
        fitted(lightning, Ready(), ApplyRules("net.modle[0].weight = 1"), tmp_path)


def test_two_callbacks_fill_two_parts(lightning: Any, tmp_path: Path) -> None:
    from initdsl.integrations.lightning import ApplyRules

    module = example("lightning_callback").Regression()
    both = [ApplyRules("Linear.* = 3", attribute="model.0"), ApplyRules("Linear.* = 5", attribute="model.2")]
    trainer = lightning.Trainer(
        max_steps=1,
        accelerator="cpu",
        callbacks=both,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        enable_checkpointing=False,
    )
    trainer.fit(module)
    assert (module.model[0].weight == 3).all()
    assert (module.model[2].weight == 5).all()
    assert "configure_model" not in module.__dict__


@pytest.fixture
def imported_anew(monkeypatch: pytest.MonkeyPatch, lightning: Any) -> Any:
    """Imports the callback's module as if nothing had imported it, Lightning or its parts."""
    for name in [n for n in sys.modules if n.split(".")[0] in ("lightning", "pytorch_lightning")]:
        monkeypatch.delitem(sys.modules, name)
    kept = sys.modules.pop("initdsl.integrations.lightning", None)
    yield lambda: importlib.import_module("initdsl.integrations.lightning")
    sys.modules.pop("initdsl.integrations.lightning", None)
    if kept is not None:
        sys.modules["initdsl.integrations.lightning"] = kept


def test_the_callback_is_that_of_the_library_there_is(monkeypatch: pytest.MonkeyPatch, imported_anew: Any) -> None:
    older = ModuleType("pytorch_lightning")
    older.Callback = type("Callback", (), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lightning", None)
    monkeypatch.setitem(sys.modules, "pytorch_lightning", older)
    assert issubclass(imported_anew().ApplyRules, older.Callback)  # type: ignore[attr-defined]


def test_without_lightning_the_import_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, imported_anew: Any, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "pytorch_lightning", None)
    (tmp_path / "lightning").mkdir()
    (tmp_path / "lightning" / "__init__.py").write_text("import absent_dependency")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="absent_dependency"):  # a broken installation is none of ours
        imported_anew()
    monkeypatch.setitem(sys.modules, "lightning", None)
    with pytest.raises(ModuleNotFoundError, match="neither `lightning` nor `pytorch_lightning` is installed"):
        imported_anew()


# ---- accelerate


def test_the_documented_line_fills_a_network_without_memory(torchvision_shim: None) -> None:
    accelerate = pytest.importorskip("accelerate")
    from initdsl.integrations.accelerate import fill_empty

    def empty() -> nn.Module:
        with accelerate.init_empty_weights():
            return nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8))

    net = empty()
    assert initdsl.materialize(lambda: net, "Linear.* ~ normal(0, 1)", device="cpu", seed=3) is net
    shorter = fill_empty(empty(), "Linear.* ~ normal(0, 1)", seed=3).state_dict()
    assert all(torch.equal(values, shorter[name]) for name, values in net.state_dict().items())


def test_ties_that_accelerate_breaks_are_made_again(torchvision_shim: None) -> None:
    accelerate = pytest.importorskip("accelerate")
    transformers = pytest.importorskip("transformers")
    from initdsl.integrations.accelerate import fill_empty

    config = transformers.GPT2Config(n_layer=2, n_embd=16, n_head=2, vocab_size=50, n_positions=12)
    rules = 'use "initdsl:gpt2"'
    with accelerate.init_empty_weights():
        net = transformers.GPT2LMHeadModel(config)
    assert net.lm_head.weight.is_meta
    fill_empty(net, rules, seed=2)
    whole = transformers.GPT2LMHeadModel(config)
    initdsl.apply(whole, rules, seed=2)
    assert net.lm_head.weight is net.transformer.wte.weight
    left, right = net.state_dict(), whole.state_dict()
    assert all(torch.equal(left[name], right[name]) for name in right)


def test_buffers_without_memory_are_refused() -> None:
    accelerate = pytest.importorskip("accelerate")
    from initdsl.integrations.accelerate import fill_empty

    with accelerate.init_empty_weights(include_buffers=True):
        net = nn.Sequential(nn.BatchNorm1d(4))
    with pytest.raises(initdsl.ResolveError, match="running_mean"):
        fill_empty(net, "BatchNorm1d.* = 1")
    assert net[0].weight.is_meta
    with pytest.raises(TypeError, match=r"nn\.Module"):
        fill_empty("net", "*.* = 1")


# ---- Hydra


CONFIG = """
std: 0.5
init:
  rules: rules.init
  seed: 3
  vars: {std: "${std}"}
"""


# the line of the program: what is documented, and what also heeds where the program was started
@pytest.mark.parametrize(
    ("line", "changes_folder"),
    [("initdsl.apply(net, **config.init)", False), ("apply_config(net, config.init)", True)],
)
def test_a_program_under_hydra(
    line: str, changes_folder: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("hydra")
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "config.yaml").write_text(CONFIG)
    (tmp_path / "rules.init").write_text("let std = 1\nLinear.weight ~ normal(0, std)\nLinear.bias = 0\n")
    (tmp_path / "program.py").write_text(
        "import hydra, initdsl, os\nfrom torch import nn\nfrom initdsl.integrations.hydra import apply_config\n"
        "@hydra.main(config_path='conf', config_name='config', version_base=None)\n"
        f"def main(config):\n    net = nn.Linear(50, 50)\n    {line}\n"
        "    print(f'std {net.weight.std():.1f}', os.path.exists('rules.init'))\nmain()\n"
    )
    import subprocess

    monkeypatch.chdir(tmp_path)
    command = [sys.executable, "program.py", "std=4", f"hydra.job.chdir={str(changes_folder).lower()}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST)
    assert done.stdout == f"std 4.0 {not changes_folder}\n", done.stderr


def test_the_documented_line_takes_a_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    omegaconf = pytest.importorskip("omegaconf")
    monkeypatch.chdir(tmp_path)
    Path("rules.init").write_text("let std = 1\nLinear.weight = std\nLinear.bias = 0\n")
    net = nn.Linear(2, 2)
    initdsl.apply(net, **omegaconf.OmegaConf.create(CONFIG).init)
    assert (net.weight == 0.5).all()


@pytest.mark.parametrize("form", ["path", "mapping", "omegaconf"])
def test_ways_to_name_a_rule_file(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from initdsl.integrations.hydra import apply_config

    monkeypatch.chdir(tmp_path)
    Path("rules.init").write_text("let std = 1\nLinear.weight = std\nLinear.bias = 0\n")
    config: Any = {"path": "rules.init", "mapping": {"rules": "rules.init", "vars": {"std": 2}, "seed": None}}.get(form)
    if form == "omegaconf":
        omegaconf = pytest.importorskip("omegaconf")
        config = omegaconf.OmegaConf.create({"rules": "rules.init", "vars": {"std": 3}, "strict": True})
    net = nn.Linear(2, 2)
    apply_config(net, config)
    assert (net.weight == {"path": 1, "mapping": 2, "omegaconf": 3}[form]).all()


def test_the_root_is_a_path_of_where_the_program_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from initdsl.integrations.hydra import apply_config

    monkeypatch.chdir(tmp_path)
    Path("deep").mkdir()
    Path("base.init").write_text("*.* = 4\n")
    Path("deep/rules.init").write_text('use "../base.init"\n')
    net = nn.Linear(2, 2)
    with pytest.raises(initdsl.InitDSLError, match="outside"):
        apply_config(net, {"rules": "deep/rules.init"})
    with pytest.raises(initdsl.InitDSLError, match="outside"):
        apply_config(net, {"rules": "deep/rules.init", "root": "deep"})
    apply_config(net, {"rules": "deep/rules.init", "root": "."})
    assert (net.weight == 4).all()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"rules": "a.init", "sead": 1}, "did you mean `seed`"), ({"_target_": "os.system", "rules": "a.init"}, "`_target_`"),
        ({"seed": 1}, "path of an .init file"), ({"rules": "Linear.weight = 1"}, "path of an .init file"),
        ({"rules": "missing.init"}, "missing.init"),
    ],
)  # fmt: skip
def test_configurations_that_are_refused(config: Any, said: str) -> None:
    from initdsl.integrations.hydra import apply_config

    net = nn.Linear(2, 2)
    with pytest.raises(initdsl.InitDSLError, match=said.replace(".", r"\.")):
        apply_config(net, config)
    with pytest.raises(TypeError, match="configuration"):
        apply_config(net, 3)
