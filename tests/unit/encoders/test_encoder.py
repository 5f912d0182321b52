"""Encoders: what they see, what they give back, how they lie on disk, and which weights are whose."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from medistill.artifacts.weights_folder import WEIGHTS
from medistill.encoders.convert import efficientnet_lite0
from medistill.encoders.efficientnet_lite import STAGES, EfficientNetLite0
from medistill.encoders.encoder import Encoder
from medistill.encoders.folder import load_encoder
from medistill.encoders.neutral import fields, neutral_statistics
from medistill.encoders.store import add_encoder, encoder_named, remove_encoder, stored_encoder, stored_encoders
from medistill.errors import ArtifactError, DataError, UsageError
from tests.factories.published_weights import batch_normed
from tests.factories.tiny_encoder import TinyEncoder, description, in_float64, save_tiny, tiny_architecture


@pytest.fixture(autouse=True)
def _known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("MEDISTILL_CACHE", str(tmp_path / "cache"))
    with tiny_architecture():
        yield


@pytest.fixture
def encoder(tmp_path: Path) -> Encoder:
    save_tiny(tmp_path / "made")
    return load_encoder(tmp_path / "made")


def test_the_gradient_is_that_of_finite_differences_and_of_autograd_whatever_the_micro_batch(encoder: Encoder) -> None:
    exact = in_float64(encoder)
    numbers = torch.Generator().manual_seed(0)
    images = torch.rand(5, 1, 16, 16, generator=numbers, dtype=torch.float64)
    cotangent = torch.randn(5, exact.dimension, generator=numbers, dtype=torch.float64)
    assert gradcheck(exact.features, (images[:1, :, :8, :8].clone().requires_grad_(),))
    shown = images.clone().requires_grad_()
    (expected,) = torch.autograd.grad((exact.features(shown) * cotangent).sum(), shown)
    for size in (1, 2, 5):
        assert torch.allclose(exact.pullback(images, cotangent, size), expected, atol=1e-14)


def test_every_image_is_seen_by_itself_and_no_parameter_has_a_gradient(encoder: Encoder) -> None:
    images = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    alone = torch.cat([encoder.encoded(image[None]) for image in images])
    assert torch.allclose(encoder.encoded(images, 2), alone, atol=1e-6)
    assert encoder.encoded(images[:0]).shape == (0, encoder.dimension)
    assert not any(parameter.requires_grad for parameter in encoder.network.parameters())
    assert torch.equal(encoder.encoded(images), encoder.encoded(images.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize(("shape", "said"), [((1, 2, 32, 32), "2 channels"), ((1, 1, 7, 7), "7 pixels")])
def test_images_that_it_cannot_see_are_refused(shape: tuple[int, ...], said: str, encoder: Encoder) -> None:
    with pytest.raises(DataError, match=said):
        encoder.features(torch.zeros(shape))


def test_an_encoder_is_brought_named_listed_and_removed(tmp_path: Path) -> None:
    first, second = save_tiny(tmp_path / "a"), save_tiny(tmp_path / "b", seed=1)
    assert first != second
    with pytest.raises(UsageError, match="no encoder is in the cache"):
        encoder_named("")
    assert add_encoder(tmp_path / "a").sha256 == first
    assert encoder_named("") == encoder_named(first[:6]) == first
    add_encoder(tmp_path / "b")
    with pytest.raises(UsageError, match="2 encoders"):
        encoder_named("")
    with pytest.raises(UsageError, match="named by"):
        encoder_named(first[:5])
    weights = stored_encoder(first).network.state_dict()
    theirs = load_encoder(tmp_path / "a").network.state_dict()
    assert all(torch.equal(weights[name], theirs[name]) for name in theirs)
    assert sorted(stored_encoders()) == sorted([first, second])
    remove_encoder(first)
    with pytest.raises(UsageError, match="not in the cache"):
        stored_encoder(first)


def test_one_that_was_damaged_in_the_cache_is_not_used(tmp_path: Path) -> None:
    sha256 = add_encoder((save_tiny(tmp_path / "a"), tmp_path / "a")[1]).sha256
    weights = tmp_path / "cache" / "encoders" / sha256 / WEIGHTS
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert isinstance(stored_encoders()[sha256], ArtifactError)
    with pytest.raises(UsageError, match="damaged"):
        stored_encoder(sha256)
    add_encoder(tmp_path / "a")
    assert isinstance(stored_encoders()[sha256], Encoder)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"licence": " "}, "states no licence"),
        ({"licence": None}, "states no licence"),
        ({"schema": 2}, "its schema is '2'"),
        ({"kind": "medistill autoencoder"}, "of the kind"),
        ({"architecture": "os.system"}, "architecture 'os.system' is not one of those known here"),
        ({"layers": ["second", "first"]}, "its layers are not some of first, second"),
        ({"layers": []}, "its layers are not"),
        ({"layers": ["first"]}, "is in one of them alone|not float32 of"),
        ({"mean": [0.5]}, "three numbers"),
        ({"mean": [0.5, 0.5, "0"]}, "three numbers"),
        ({"std": [0.5, 0, 0.5]}, "std is not above 0"),
        ({"image_size": True}, "image_size"),
        ({"fixed_size": 1}, "image_size"),
        ({"code": "print(1)"}, "no such description"),
        ({"weights_sha256": "0" * 64}, "not the one that encoder.json lists"),
    ],
    ids=lambda value: f"{value}"[:30] if isinstance(value, dict) else "",
)
def test_a_description_that_says_something_else_is_refused(
    changes: dict[str, object], said: str, tmp_path: Path
) -> None:
    save_tiny(tmp_path / "made")
    path = tmp_path / "made" / "encoder.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(ArtifactError, match=said):
        load_encoder(tmp_path / "made")


def test_folded_batch_norms_give_what_pytorchs_own_give() -> None:
    """Against convolutions without bias followed by `torch.nn.BatchNorm2d`, with the padding worked out by hand."""
    from torch.nn import functional as F

    published = {name: torch.from_numpy(array).double() for name, array in batch_normed(0).items()}
    folded = efficientnet_lite0({name: tensor.numpy() for name, tensor in published.items()})
    network = EfficientNetLite0(("stage3", "head")).double()
    network.load_state_dict({name: torch.from_numpy(array).double() for name, array in folded.items()})

    def normed(x: torch.Tensor, convolution: str, norm: str, stride: int, groups: int) -> torch.Tensor:
        weight = published[f"{convolution}.weight"]
        kernel, side = weight.shape[-1], x.shape[-1]
        whole = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        x = F.conv2d(F.pad(x, [whole // 2, whole - whole // 2] * 2), weight, stride=stride, groups=groups)
        mean, var = published[f"{norm}.running_mean"], published[f"{norm}.running_var"]
        return F.batch_norm(x, mean, var, published[f"{norm}.weight"], published[f"{norm}.bias"], eps=1e-3)

    x = torch.rand(2, 3, 50, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    at, number, seen = F.relu6(normed(x, "_conv_stem", "_bn0", 2, 1)), 0, []
    for k, stage in enumerate(STAGES):
        for j in range(stage.blocks):
            block, before, stride = f"_blocks.{number}", at, 1 if j else stage.stride
            if stage.expansion > 1:
                at = F.relu6(normed(at, f"{block}._expand_conv", f"{block}._bn0", 1, 1))
            at = F.relu6(normed(at, f"{block}._depthwise_conv", f"{block}._bn1", stride, at.shape[1]))
            at = normed(at, f"{block}._project_conv", f"{block}._bn2", 1, 1)
            at = at + before if at.shape == before.shape and stride == 1 else at
            number += 1
        if k == 2:
            seen.append(at.mean(dim=(2, 3)))
    seen.append(F.relu6(normed(at, "_conv_head", "_bn1", 1, 1)).mean(dim=(2, 3)))
    expected = torch.cat(seen, dim=1)
    assert torch.allclose(network(x), expected, rtol=1e-4, atol=1e-5)


def test_the_neutral_statistics_are_those_of_what_the_network_sees_in_fields_of_nothing() -> None:
    network = TinyEncoder(("first", "second")).eval()
    centre, scale = neutral_statistics(network, description(), (6, 16))
    with torch.no_grad():
        seen = network((fields(128).float().expand(-1, 3, -1, -1) - 0.5) / 0.25).numpy().astype(np.float64)
    assert np.allclose(centre, seen.mean(axis=0), atol=1e-5)
    assert np.allclose(scale[:6], np.sqrt(seen[:, :6].var(axis=0).mean()), rtol=1e-4)
    assert np.allclose(scale[6:], np.sqrt(seen[:, 6:].var(axis=0).mean()), rtol=1e-4)
    assert torch.equal(fields(128), fields(128))
    assert 0 <= float(fields(128).min()) < 0.05 < 0.95 < float(fields(128).max()) <= 1
