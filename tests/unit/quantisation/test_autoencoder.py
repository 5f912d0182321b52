"""The autoencoder: what MONAI's own network gives, drawn without a global seed, within bounds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from medistill.errors import ArtifactError
from medistill.quantisation.autoencoder import Architecture, Autoencoder, check_fits
from medistill.training.randomness import generator

SMALL = Architecture(channels=1, image_size=16, width=8, levels=2, latent_channels=4)


def drawn(architecture: Architecture = SMALL, seed: int = 0) -> Autoencoder:
    return Autoencoder.drawn(architecture, generator(seed, "autoencoder"))


@pytest.mark.parametrize(
    ("architecture", "channels"), [(SMALL, [8, 16]), (Architecture(3, 32, 16, 4, 2), [16, 32, 64, 64])]
)
def test_codes_and_images_are_those_of_monais_own_forward(architecture: Architecture, channels: list[int]) -> None:
    from monai.networks.nets import AutoencoderKL

    ours = drawn(architecture)
    theirs = AutoencoderKL(
        2,
        in_channels=architecture.channels,
        out_channels=architecture.channels,
        channels=channels,
        num_res_blocks=1,
        attention_levels=[False] * len(channels),
        latent_channels=architecture.latent_channels,
        norm_num_groups=8,
        with_encoder_nonlocal_attn=False,
        with_decoder_nonlocal_attn=False,
    )
    theirs.load_state_dict(ours.network.state_dict())
    grey = torch.rand(5, *architecture.shape, generator=torch.Generator().manual_seed(3))
    codes = ours.encode(grey)
    mean, _ = theirs.encode(grey)
    torch.testing.assert_close(codes, mean.detach().reshape(5, -1))
    torch.testing.assert_close(ours.decode(codes), theirs.reconstruct(grey).detach())
    assert codes.shape == (5, ours.dimension)
    assert not codes.requires_grad
    assert codes.dtype == torch.float32


def test_images_beyond_one_part_give_the_same_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = drawn()
    grey = torch.rand(7, *SMALL.shape, generator=torch.Generator().manual_seed(3))
    codes = ours.encode(grey)
    decoded = ours.decode(codes)
    passes: list[int] = []
    ours.network.encoder.register_forward_pre_hook(lambda _, given: passes.append(len(given[0])))
    monkeypatch.setattr("medistill.quantisation.autoencoder.ACTIVATION", 3 * 2 * 8 * 16**2)
    torch.testing.assert_close(ours.encode(grey), codes)
    torch.testing.assert_close(ours.decode(codes), decoded)
    assert passes == [3, 3, 1]


def test_codes_and_images_are_float32_arithmetic_whatever_surrounds_them() -> None:
    ours, grey = drawn(), torch.rand(2, *SMALL.shape, generator=torch.Generator().manual_seed(3))
    codes = ours.encode(grey)
    with torch.autocast("cpu", torch.bfloat16):
        assert ours.network.encode(grey)[0].dtype == torch.bfloat16
        assert torch.equal(ours.encode(grey), codes)
        images = ours.decode(codes)
    assert torch.equal(images, ours.decode(codes))


def test_parameters_come_from_the_generator_alone() -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first, again, other = drawn(), drawn(), drawn(seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    for name, tensor in first.network.state_dict().items():
        assert torch.equal(tensor, again.network.state_dict()[name])
    assert not torch.equal(*(one.network.state_dict()["encoder.blocks.0.conv.weight"] for one in (first, other)))


def test_an_architecture_survives_json() -> None:
    assert Architecture.from_json(SMALL.as_json()) == SMALL


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("channels", 0),
        ("image_size", 2**40),
        ("width", 10**9),
        ("width", 12),
        ("levels", 60),
        ("levels", True),
        ("levels", 2.0),
        ("latent_channels", "4"),
        ("latent_channels", 65),
        ("image_size", 17),
    ],
)
def test_an_architecture_out_of_bounds_is_refused_with_its_name(name: str, value: object) -> None:
    with pytest.raises(ArtifactError, match=name):
        Architecture.from_json({**SMALL.as_json(), name: value})


@pytest.mark.parametrize("value", [None, [], {}, {**SMALL.as_json(), "path": "/etc"}])
def test_what_is_no_architecture_is_refused(value: object) -> None:
    with pytest.raises(ArtifactError, match="other parts"):
        Architecture.from_json(value)


def test_images_of_another_shape_are_refused_with_both_shapes() -> None:
    autoencoder = drawn(replace(SMALL, image_size=64))
    check_fits(autoencoder, (1, 64, 64))
    with pytest.raises(ArtifactError, match=r"images of \(1, 64, 64\); the corpus has \(1, 32, 32\)"):
        check_fits(autoencoder, (1, 32, 32))


def test_layers_one_after_another_are_the_decoder_and_have_the_shapes_that_they_say() -> None:
    ours = drawn(Architecture(3, 16, 8, 3, 2))
    codes = ours.encode(torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(3)))
    layers, seen = ours.layers(), codes
    assert [layer.name for layer in layers] == ["code", *(f"block_{number}" for number in range(1, 8))]
    for layer in layers:
        assert tuple(seen.shape[1:]) == layer.shape, layer.name
        seen = layer.onward(seen)
    assert torch.equal(seen, ours.decode(codes))
    assert not seen.requires_grad, "weights take no part in a gradient"
