"""Models to files: what safetensors reads back, what the metadata says, and that no half file stays."""

from __future__ import annotations

import hashlib
import pickle
import resource
import signal
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, load_model, save_file
from torch import nn

import initdsl
from initdsl.checkpoints.open import open_store
from initdsl.checkpoints.writing import save
from initdsl.filling.to_disk.provenance import provenance, rules_sha256

RULES = "let std = 0.02\nLinear.weight ~ normal(0, std)\nLinear.bias = 0\n"


class Net(nn.Module):
    """A tie, a buffer that is kept and one that is not, several dtypes, an odd layout, a scalar and nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.embed.weight
        self.norm = nn.BatchNorm1d(4)
        self.narrow = nn.Parameter(torch.rand(3, 5, dtype=torch.bfloat16))
        self.turned = nn.Parameter(torch.rand(5, 3).t())
        self.scalar = nn.Parameter(torch.rand(()))
        self.register_buffer("mask", torch.tensor([True, False, True]))
        self.register_buffer("empty", torch.zeros(0, 3))
        self.register_buffer("gone", torch.ones(2), persistent=False)
        self.register_buffer("eighth", torch.ones(3).to(torch.float8_e4m3fn))


def metadata_of(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata())


def test_safetensors_reads_it_back(tmp_path: Path) -> None:
    net, other = Net(), Net()
    save(net, tmp_path / "x.safetensors", {"k": "v"})
    found = load_file(tmp_path / "x.safetensors")
    state = net.state_dict()
    assert set(found) == set(state) - {"head.weight"}
    for name, tensor in found.items():
        assert tensor.dtype == state[name].dtype
        assert torch.equal(tensor.float(), state[name].float()), name
    assert metadata_of(tmp_path / "x.safetensors") == {"format": "pt", "head.weight": "embed.weight", "k": "v"}
    missing, unexpected = load_model(other, tmp_path / "x.safetensors")
    assert not missing
    assert not unexpected
    assert torch.equal(other.head.weight, net.embed.weight)


def test_the_same_network_is_the_same_bytes(tmp_path: Path) -> None:
    net = Net()
    for name in ("a", "b"):
        save(net, tmp_path / f"{name}.safetensors", {"z": "1", "a": "2"})
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_provenance(tmp_path: Path) -> None:
    file = tmp_path / "rules.init"
    file.write_text(RULES)
    plan = initdsl.plan(nn.Linear(2, 2), file, seed=2**64 - 1, vars={"std": 0.5})
    found = provenance(plan)
    assert found == {
        "initdsl.rules_sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "initdsl.network": plan.network.fingerprint(),
        "initdsl.seed": "18446744073709551615",
        "initdsl.stream": "v1",
        "initdsl.vars": '{"std": 0.5}',
        "initdsl.version": initdsl.__version__,
        "torch.version": torch.__version__,
    }
    unseeded = provenance(initdsl.plan(nn.Linear(2, 2), file))
    assert set(found) - set(unseeded) == {"initdsl.seed", "initdsl.stream", "initdsl.vars"}


def test_used_files_count_and_folders_do_not(tmp_path: Path) -> None:
    hashes = []
    for folder, base in (("a", "Linear.bias = 0"), ("b", "Linear.bias = 0"), ("c", "Linear.bias = 1")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "base.init").write_text(base)
        (tmp_path / folder / "main.init").write_text('use "base.init"\nLinear.weight = 1\n')
        hashes.append(rules_sha256(initdsl.plan(nn.Linear(2, 2), tmp_path / folder / "main.init")))
    assert hashes[0] == hashes[1] != hashes[2]


def test_the_file_of_the_command_says_where_it_comes_from(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from initdsl.cli import group

    (tmp_path / "rules.init").write_text(RULES)
    (tmp_path / "net.py").write_text("from torch import nn\ndef make():\n    return nn.Linear(3, 2)\n")
    words = ["apply", str(tmp_path / "rules.init"), "--model", f"{tmp_path / 'net.py'}:make", "--seed", "7"]
    done = CliRunner().invoke(group, [*words, "-o", str(tmp_path / "x.safetensors")])
    assert done.exit_code == 0, done.output
    found = metadata_of(tmp_path / "x.safetensors")
    assert found["initdsl.seed"] == "7"
    assert found["initdsl.rules_sha256"] == hashlib.sha256(RULES.encode()).hexdigest()


def test_what_can_not_be_held_is_refused(tmp_path: Path) -> None:
    class Extra(nn.Module):
        def get_extra_state(self) -> object:
            return {"a": 1}

    strange = nn.ParameterDict({"x": torch.zeros(2, dtype=torch.complex128)})
    for net, said in (
        (Extra(), "not a tensor"),
        (nn.Linear(2, 2, device="meta"), "no memory"),
        (strange, "complex128"),
    ):
        with pytest.raises(ValueError, match=said):
            save(net, tmp_path / "x.safetensors")
    with pytest.raises(OSError, match="there is no folder"):
        save(nn.Linear(2, 2), tmp_path / "none" / "x.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_file_that_can_not_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "x.safetensors"
    save(nn.Linear(2, 2), target)
    before = target.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match=r"can't write `.*x.safetensors`: file too large"):
            save(nn.Linear(100, 100), target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert target.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


def test_links_of_a_hub_cache_are_followed_and_no_others(tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "0f1e", tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    save_file({"weight": torch.ones(2)}, blobs / "sha")
    (snapshot / "model.safetensors").symlink_to("../../blobs/sha")
    assert list(open_store(snapshot).tensors) == ["weight"]
    assert list(open_store(snapshot / "model.safetensors").tensors) == ["weight"]
    other = tmp_path / "other"
    other.mkdir()
    (other / "model.safetensors").symlink_to(blobs / "sha")
    with pytest.raises(OSError, match="is a link that leads out of its folder"):
        open_store(other)


def test_a_chunk_that_is_a_link_out_is_not_read(tmp_path: Path) -> None:
    dcp = pytest.importorskip("torch.distributed.checkpoint")
    dcp.save({"weight": torch.ones(2)}, checkpoint_id=tmp_path / "x")
    (chunk,) = (tmp_path / "x").glob("*.distcp")
    chunk.rename(tmp_path / "outside")
    chunk.symlink_to(tmp_path / "outside")
    with pytest.raises(OSError, match="is a link that leads out of its folder"):
        open_store(tmp_path / "x").whole("weight")


def test_any_changed_byte_of_dcp_metadata_is_a_value_or_an_error_of_the_file(tmp_path: Path) -> None:
    dcp = pytest.importorskip("torch.distributed.checkpoint")
    dcp.save({"weight": torch.ones(2, 3), "bias": torch.ones(2)}, checkpoint_id=tmp_path / "x")
    metadata = tmp_path / "x" / ".metadata"
    whole = metadata.read_bytes()
    refused = 0
    for place in range(len(whole)):
        changed = whole[place] ^ (1, 64, 255)[place % 3]
        metadata.write_bytes(whole[:place] + bytes([changed]) + whole[place + 1 :])
        try:
            store = open_store(tmp_path / "x")
            for name in store.tensors:
                store.whole(name)
        except (OSError, ValueError):
            refused += 1
    assert len(whole) // 3 < refused <= len(whole)


@pytest.mark.parametrize(
    ("chunks", "fine"),
    [
        ([((0, 0), (4, 6))], True),
        ([((0, 0), (2, 6)), ((2, 0), (2, 6)), ((4, 0), (0, 6))], True),
        ([((0, 0), (2, 3)), ((2, 0), (2, 3)), ((0, 3), (4, 3))], True),
        ([], False),
        ([((0, 0), (2, 6))], False),
        ([((0, 0), (2, 6)), ((1, 0), (2, 6))], False),
        ([((0, 0), (4, 6)), ((0, 0), (4, 6))], False),
        ([((0, 0), (5, 6))], False),
        ([((0, 0), (2, 6)), ((3, 0), (2, 6))], False),
        ([((0,), (4,))], False),
    ],
)
def test_chunks_that_do_not_fill_their_tensor_are_refused(
    chunks: list[tuple[tuple[int, ...], tuple[int, ...]]], fine: bool, tmp_path: Path
) -> None:
    from torch.distributed.checkpoint import metadata as dcp
    from torch.distributed.checkpoint.filesystem import _StorageInfo

    whole = torch.arange(24.0).reshape(4, 6)
    entry = dcp.TensorStorageMetadata(
        dcp.TensorProperties(torch.float32),
        torch.Size([4, 6]),
        [dcp.ChunkStorageMetadata(torch.Size(offsets), torch.Size(sizes)) for offsets, sizes in chunks],
    )
    places = {}
    with (tmp_path / "a.distcp").open("wb") as file:
        for offsets, sizes in chunks:
            start = file.tell()
            part = whole[tuple(slice(o, o + size) for o, size in zip(offsets, sizes, strict=True))]
            torch.save(part.clone(), file)
            places[dcp.MetadataIndex("w", torch.Size(offsets))] = _StorageInfo("a.distcp", start, file.tell() - start)
    (tmp_path / ".metadata").write_bytes(pickle.dumps(dcp.Metadata({"w": entry}, None, places)))
    if fine:
        assert torch.equal(open_store(tmp_path).whole("w"), whole)
    else:
        with pytest.raises(ValueError, match="its metadata is damaged"):
            open_store(tmp_path)
