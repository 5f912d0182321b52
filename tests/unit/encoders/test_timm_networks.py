"""Networks of timm: chosen from its list, with weights of the user's own, image by image, and nothing is fetched."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from medistill.encoders import neutral, timm_networks
from medistill.encoders.conversion import add_timm_encoder
from medistill.encoders.store import add_encoder, stored_encoder, stored_encoders
from medistill.errors import ArtifactError, UsageError
from tests.factories.stand_in_timm import SmallNet, SmallViT, stand_in

SAID = {"licence": "MIT", "trained_on": "nothing", "source": "tests"}


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(neutral, "FIELDS", 3)
    timm_networks._architecture.cache_clear()
    timm_networks._names.cache_clear()
    yield
    timm_networks._architecture.cache_clear()
    timm_networks._names.cache_clear()


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", stand_in())


def trained(network: SmallNet | SmallViT, path: Path, **changed: Tensor | None) -> Path:
    """Its weights as if it had been trained, some changed, or left out where they are None."""
    rng = torch.Generator().manual_seed(0)
    state = network.state_dict()
    for tensor in state.values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=rng) + 0.5)
    tensors = {name: one for name, one in {**state, **changed}.items() if one is not None}
    save_file(tensors, path)
    network.load_state_dict(state)
    network.eval()
    return path


@pytest.mark.usefixtures("timm")
def test_a_convolutional_network_sees_what_it_sees_in_evaluation_mode_image_by_image(tmp_path: Path) -> None:
    network = SmallNet(10)
    encoder = add_timm_encoder("smallnet.a1", trained(network, tmp_path / "w.safetensors"), **SAID)
    assert (encoder.description.architecture, encoder.description.layers) == ("timm:smallnet.a1", ("pooled",))
    assert (encoder.description.mean, encoder.description.image_size) == ((0.4, 0.5, 0.6), 64)
    images = torch.rand(4, 3, 40, 40, generator=torch.Generator().manual_seed(1))
    network.fc = torch.nn.Identity()
    with torch.no_grad():
        expected = network((images - torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1)) / 0.2)
    seen = encoder.encoded(images, 3) * encoder.scale + encoder.centre
    assert torch.allclose(seen, expected, atol=1e-5)
    alone = torch.cat([encoder.encoded(image[None]) for image in images])
    assert torch.allclose(encoder.encoded(images, 4), alone, atol=1e-5)
    assert not encoder.network.training
    assert not any(parameter.requires_grad for parameter in encoder.network.parameters())
    stored = {name for name in encoder.network.state_dict() if "num_batches" in name}
    assert stored == set()


@pytest.mark.usefixtures("timm")
def test_a_transformer_keeps_its_size_its_table_and_the_statistics_of_its_norm(tmp_path: Path) -> None:
    network = SmallViT(10)
    encoder = add_timm_encoder("smallvit", trained(network, tmp_path / "w.safetensors"), **SAID)
    assert (encoder.description.fixed_size, encoder.description.image_size) == (True, 32)
    assert torch.allclose(encoder.centre, network.norm.bias)
    assert torch.allclose(encoder.scale, network.norm.weight.square().mean().sqrt().expand(6))
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    network.head = torch.nn.Identity()
    with torch.no_grad():
        expected = (network((images - 0.5) / 0.5) - encoder.centre) / encoder.scale
    assert torch.allclose(encoder.encoded(images), expected, atol=1e-5)
    assert encoder.encoded(torch.rand(1, 1, 100, 100)).shape == (1, 6)


@pytest.mark.usefixtures("timm")
def test_a_folder_that_says_a_transformer_takes_any_size_is_refused(tmp_path: Path, private_cache: Path) -> None:
    encoder = add_timm_encoder("smallvit", trained(SmallViT(3), tmp_path / "w.safetensors"), **SAID)
    path = private_cache / "encoders" / encoder.sha256 / "encoder.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "fixed_size": False}))
    with pytest.raises(ArtifactError, match="image_size is not 32, the only one"):
        add_encoder(path.parent)


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize("name", ["resnet999", "hf-hub:somebody/net", "local-dir:/tmp/net", "smallnet.unknown", ""])
def test_only_names_of_timms_own_list_are_taken(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="timm has no network"):
        add_timm_encoder(name, trained(SmallNet(3), tmp_path / "w.safetensors"), **SAID)


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"conv.weight": None}, "1 weights are missing, the first is conv.weight"),
        ({"extra.weight": torch.zeros(2)}, "of another network, the first is 'extra.weight'"),
        ({"conv.weight": torch.zeros(5, 1, 3, 3)}, r"conv.weight are of \(5, 1, 3, 3\)"),
        ({"bn.running_mean": torch.full((5,), torch.nan)}, "NaN"),
    ],
)
def test_weights_of_another_network_are_named(changed: dict[str, Tensor | None], said: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=said):
        add_timm_encoder("smallnet", trained(SmallNet(3), tmp_path / "w.safetensors", **changed), **SAID)
    assert stored_encoders() == {}


@pytest.mark.usefixtures("timm")
def test_a_network_that_sees_images_beside_others_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="batch norm without statistics"):
        add_timm_encoder("smallbatch", trained(SmallNet(3), tmp_path / "w.safetensors"), **SAID)


@pytest.mark.usefixtures("timm")
def test_what_must_be_said_is_asked_for_with_what_timm_lists(tmp_path: Path) -> None:
    path = trained(SmallNet(3), tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match=r"licence.*timm's list says mit.*--licence"):
        add_timm_encoder("smallnet.a1", path, trained_on="nothing", source="tests")


def test_without_timm_its_encoders_say_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as there:
        there.setitem(sys.modules, "timm", stand_in())
        sha256 = add_timm_encoder("smallnet", trained(SmallNet(3), tmp_path / "w.safetensors"), **SAID).sha256
        timm_networks._architecture.cache_clear()
        timm_networks._names.cache_clear()
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UsageError, match=r"timm cannot be used here.*pip install 'medistill\[encoders\]'"):
        stored_encoder(sha256)


def test_timm_itself_gives_the_features_that_its_own_classifier_sees(tmp_path: Path) -> None:
    if find_spec("timm") is None or find_spec("torchvision") is None:
        pytest.skip("timm and torchvision (extra `encoders`) are not installed")
    try:
        import timm
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"the installed torchvision does not fit the installed torch: {error}")
    for name in ("resnet18", "vit_tiny_patch16_224"):
        with torch.random.fork_rng(devices=[]):
            network = timm.create_model(name, pretrained=False).eval()
        save_file(network.state_dict(), tmp_path / f"{name}.safetensors")
        encoder = add_timm_encoder(name, tmp_path / f"{name}.safetensors", **SAID)
        size = encoder.description.image_size
        images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
        mean, std = (torch.tensor(one).view(1, 3, 1, 1) for one in (encoder.description.mean, encoder.description.std))
        with torch.no_grad():
            expected = network.forward_head(network.forward_features((images - mean) / std), pre_logits=True)
        assert torch.allclose(encoder.encoded(images) * encoder.scale + encoder.centre, expected, atol=1e-4)


def test_the_package_is_imported_by_nothing_but_its_networks() -> None:
    code = "import sys, medistill.encoders.store, medistill.encoders.conversion; print('timm' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
