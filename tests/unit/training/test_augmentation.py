"""Augmentation against its definition, image by image, and against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from medistill.recipe import AugmentationRecipe
from medistill.training.augmentation import Draw, augment, draw

CPU = torch.device("cpu")
EVERY = ("color", "crop", "cutout", "flip", "scale", "rotate")


def images(count: int = 6, channels: int = 3, size: int = 16) -> torch.Tensor:
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(3))


def one_operation(name: str, count: int = 6) -> Draw:
    return draw(AugmentationRecipe(operations=(name,)), count, torch.Generator().manual_seed(4), CPU)


def test_color():
    x, drawn = images(), one_operation("color")
    told = augment(x, drawn).numpy()
    for k, image in enumerate(x.numpy().astype(np.float64)):
        brightness, saturation, contrast = (
            float(drawn.numbers[n][k]) for n in ("brightness", "saturation", "contrast")
        )
        image = image + brightness
        grey = image.mean(axis=0, keepdims=True)
        image = (image - grey) * saturation + grey
        image = (image - image.mean()) * contrast + image.mean()
        np.testing.assert_allclose(told[k], image, atol=1e-5)


def test_saturation_leaves_grey_images_alone():
    x, drawn = images(channels=1), one_operation("color")
    no_saturation = Draw(drawn.operations, {**drawn.numbers, "saturation": torch.zeros(6)})
    assert torch.equal(augment(x, drawn), augment(x, no_saturation))


def test_crop_moves_by_whole_pixels_and_fills_with_the_mean():
    x, drawn = images(), one_operation("crop")
    told = augment(x, drawn).numpy()
    for k, image in enumerate(x.numpy()):
        down, right = np.round(drawn.numbers["crop"][k].numpy() * 16).astype(int)
        np.testing.assert_array_equal(told[k], ndimage.shift(image, (0, -down, -right), order=0, cval=0.0))
    assert float(drawn.numbers["crop"].abs().max()) <= 0.125


def test_cutout_blanks_one_square():
    x, drawn = images() + 10, one_operation("cutout")
    told = augment(x, drawn)
    changed = (told != x).any(dim=1)
    for mask in changed:
        rows, columns = mask.any(dim=1).nonzero().flatten(), mask.any(dim=0).nonzero().flatten()
        assert bool(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all())
        assert len(rows) <= 8
        assert len(columns) <= 8
    assert not told[changed[:, None].expand_as(told)].any()


def test_flip_swaps_sides_at_its_probability():
    x = images(2000, 1, 4)
    drawn = draw(AugmentationRecipe(operations=("flip",), flip=0.3), 2000, torch.Generator().manual_seed(5), CPU)
    told = augment(x, drawn)
    flipped = (told == x.flip(3)).flatten(1).all(dim=1)
    kept = (told == x).flatten(1).all(dim=1)
    assert bool((flipped ^ kept).all())
    assert float(flipped.float().mean()) == pytest.approx(0.3, abs=4 * (0.3 * 0.7 / 2000) ** 0.5)


@pytest.mark.parametrize("name", ["scale", "rotate"])
def test_warps_agree_with_scipy(name):
    x, drawn = images(4, 1, 17), one_operation(name, 4)
    told = augment(x, drawn).numpy()
    for k, image in enumerate(x.numpy()):
        if name == "scale":
            across, down = drawn.numbers["scale"][k].tolist()
            matrix = np.diag([down, across])
        else:
            angle = float(drawn.numbers["rotate"][k])
            matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        centre = np.array([8.0, 8.0])
        expected = ndimage.affine_transform(image[0], matrix, centre - matrix @ centre, order=1, cval=0.0)
        inner = (slice(4, 13), slice(4, 13))
        np.testing.assert_allclose(told[k, 0][inner], expected[inner], atol=1e-4)


@pytest.mark.parametrize("name", EVERY)
def test_gradient_equals_finite_differences(name):
    x = images(2, 3, 8).double().requires_grad_()
    drawn = one_operation(name, 2)
    assert torch.autograd.gradcheck(lambda v: augment(v, drawn), (x,))


def test_replay_slices_and_seeds():
    recipe = AugmentationRecipe(operations=EVERY, mode="all")
    x = images()
    drawn = draw(recipe, 6, torch.Generator().manual_seed(7), CPU)
    again = draw(recipe, 6, torch.Generator().manual_seed(7), CPU)
    assert torch.equal(augment(x, drawn), augment(x, again))
    pieces = torch.cat([augment(x[:4], drawn[slice(0, 4)]), augment(x[4:], drawn[slice(4, 6)])])
    assert torch.allclose(pieces, augment(x, drawn), atol=1e-6)


def test_single_mode_draws_each_operation_as_often():
    numbers = torch.Generator().manual_seed(8)
    recipe = AugmentationRecipe(operations=("color", "crop", "cutout"))
    drawn = [draw(recipe, 1, numbers, CPU).operations for _ in range(900)]
    assert all(len(operations) == 1 for operations in drawn)
    for name in recipe.operations:
        assert sum(name in operations for operations in drawn) == pytest.approx(300, abs=60)


def test_no_operation_changes_nothing():
    x = images()
    assert augment(x, draw(AugmentationRecipe(operations=()), 6, torch.Generator(), CPU)) is x


def test_a_draw_of_one_image_repeated_moves_all_alike():
    same = images(count=1).expand(4, -1, -1, -1)
    one = draw(AugmentationRecipe(operations=EVERY, mode="all"), 1, torch.Generator().manual_seed(4), CPU)
    made = augment(same, one[torch.zeros(4, dtype=torch.int64)])
    assert torch.equal(made, augment(same[:1], one).expand(4, -1, -1, -1))
