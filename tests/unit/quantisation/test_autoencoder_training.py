"""Training of the autoencoder: it learns, it resumes to the same bits, it stops where numbers run away."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import pytest
import torch

from medistill.errors import DivergedError
from medistill.progress import Silent, SilentTask
from medistill.quantisation.autoencoder import Architecture, Autoencoder, state_of
from medistill.quantisation.autoencoder_training import STATE, train_autoencoder
from medistill.quantisation.decoder_folder import load
from medistill.recipe import AutoencoderRecipe
from medistill.training.randomness import generator

SMALL = Architecture(channels=1, image_size=16, width=8, levels=2, latent_channels=4)
RECIPE = AutoencoderRecipe(epochs=3, batch_size=16, lr=3e-3, width=8, levels=2)
CPU = torch.device("cpu")


class Killed(Silent):
    """Kills the work after so many images, and remembers what the bar was told."""

    def __init__(self, after: int | None = None) -> None:
        self.after, self.total, self.done = after, 0, 0

    def task(self, title: str, total: int, *, done: int = 0) -> SilentTask:
        """Start a bar."""
        self.total, self.done = total, done
        watcher = self

        class Bar(SilentTask):
            def advance(self, steps: int = 1, *, figures: str = "") -> None:
                """Count, and kill."""
                watcher.done += steps
                if watcher.after is not None and watcher.done >= watcher.after:
                    raise KeyboardInterrupt

        return Bar()


def smooth_images(count: int = 40) -> np.ndarray:
    """Uint8 (N, 1, 16, 16): a bright spot that wanders."""
    numbers = np.random.default_rng(0)
    centres, axis = numbers.uniform(3, 12, (count, 2, 1)), np.arange(16)
    across, down = (np.exp(-((axis - centres[:, k]) ** 2) / 18) for k in (0, 1))
    return np.round(20 + 220 * down[:, None, :, None] * across[:, None, None, :]).astype(np.uint8)


IMAGES, ROWS = smooth_images(), np.arange(1, 40)


def trained(folder: Path, recipe: AutoencoderRecipe = RECIPE, progress: Killed | None = None) -> Autoencoder:
    return train_autoencoder(
        IMAGES, ROWS, SMALL, recipe, seed=5, device=CPU, folder=folder, progress=progress or Killed()
    )


def error(autoencoder: Autoencoder) -> float:
    """Mean squared error in grey levels, of the codes' means."""
    grey = torch.from_numpy(IMAGES[ROWS]).float() / 255
    return float((255 * (autoencoder.decode(autoencoder.encode(grey)) - grey)).square().mean())


def test_it_learns_what_its_images_look_like(tmp_path: Path) -> None:
    bar = Killed()
    before = error(Autoencoder.drawn(SMALL, generator(5, "autoencoder")))
    after = error(trained(tmp_path, RECIPE.model_copy(update={"epochs": 12}), bar))
    spread = float(IMAGES[ROWS].astype(float).var(axis=0).mean())
    assert after < spread < before  # better than the best single image, which is the mean
    assert bar.done == bar.total == 12 * len(ROWS)


@pytest.mark.parametrize("images", [39, 50, 78], ids=["at an epoch's end", "in an epoch", "before the last epoch"])
def test_a_training_that_was_killed_goes_on_to_the_same_bits(images: int, tmp_path: Path) -> None:
    undisturbed = state_of(trained(tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "killed", progress=Killed(after=images))
    assert stat.S_IMODE((tmp_path / "killed" / STATE).stat().st_mode) == 0o600
    bar = Killed()
    torch.manual_seed(77)
    resumed = state_of(trained(tmp_path / "killed", progress=bar))
    assert bar.done == bar.total
    for name, array in undisturbed.items():
        assert array.tobytes() == resumed[name].tobytes(), name


def test_a_state_is_of_one_training_alone(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "one", progress=Killed(after=50))
    other = RECIPE.model_copy(update={"lr": 1e-3})
    assert state_of(trained(tmp_path / "one", other)).keys() == state_of(trained(tmp_path / "fresh", other)).keys()
    for name, array in state_of(load(tmp_path / "one")[0]).items():
        np.testing.assert_array_equal(array, state_of(load(tmp_path / "fresh")[0])[name])


def test_what_is_left_is_the_finished_decoder_for_its_owner_alone(tmp_path: Path) -> None:
    autoencoder = trained(tmp_path / "own")
    assert sorted(file.name for file in (tmp_path / "own").iterdir()) == ["decoder.json", "weights.safetensors"]
    assert stat.S_IMODE((tmp_path / "own").stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "own").iterdir()} == {0o600}
    for name, array in state_of(load(tmp_path / "own")[0]).items():
        np.testing.assert_array_equal(array, state_of(autoencoder)[name])


def test_numbers_that_run_away_are_told_and_the_last_good_epoch_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, progress=Killed(after=39))
    kept = (tmp_path / STATE).read_bytes()
    wide = RECIPE.model_copy(update={"lr": 1e30})
    with pytest.raises(DivergedError, match=r"epoch 1 at method\.autoencoder\.lr = 1e\+30"):
        trained(tmp_path / "wide", wide)
    assert not list((tmp_path / "wide").iterdir())
    monkeypatch.setattr("torch.nn.functional.mse_loss", lambda made, grey: made.mean() * float("nan"))
    with pytest.raises(DivergedError, match="epoch 2"):
        trained(tmp_path)
    assert (tmp_path / STATE).read_bytes() == kept


def test_only_a_batch_of_images_is_read_at_once(tmp_path: Path) -> None:
    class Counting(np.ndarray):
        most = 0

        def __getitem__(self, rows: object) -> np.ndarray:
            found = np.asarray(super().__getitem__(rows))  # type: ignore[index]
            Counting.most = max(Counting.most, len(found))
            return found

    train_autoencoder(IMAGES.view(Counting), ROWS, SMALL, RECIPE, seed=5, device=CPU, folder=tmp_path)
    assert Counting.most == RECIPE.batch_size
