"""What reads a whole corpus, a stage at a time, for `tests.bench.corpora`: each takes the folder of a corpus."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image as Pillow
from torch import Tensor, nn

from medistill.artifacts.cache import cache_root
from medistill.artifacts.corpus import Corpus, load_corpus, save_without_site
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.normalisation import Normalisation
from medistill.artifacts.provenance import Provenance
from medistill.encoders.description import EncoderDescription
from medistill.encoders.encoder import Encoder
from medistill.encoders.features import features_of
from medistill.evaluate.protocol import random_rows
from medistill.evaluate.representatives import Representatives
from medistill.networks.registry import NetworkSpec, build_network
from medistill.privacy.copies import compare_in, contrast_normalised, crops, windows
from medistill.progress import Silent
from medistill.recipe import AugmentationRecipe, DataRecipe, NetworkRecipe, Recipe, load_recipe
from medistill.studies.audit.audit import audit
from medistill.training.encoded import features_at
from medistill.training.fitted_normalisation import fitted_whitening, unwhitened
from medistill.training.fresh_network import TrainingSet, train_network
from medistill.training.images import LabelledImages, grey_of
from medistill.training.loop import Schedule, predict_logits, train
from medistill.training.penalty import Penalty
from medistill.workflow.experts import train_experts
from medistill.workflow.prepare import prepare

CPU = torch.device("cpu")
QUERIES, BATCH, EACH = 10, 64, 50
"""Images that are looked for; images that pass a network at once; originals of each class that are chosen."""
GRID, FEATURES = 8, 1280
"""Side of what the encoder here averages an image down to; numbers that it gives, as many as EfficientNet-Lite0."""
SPEC = NetworkRecipe(name="convnet", depth=3, width=8)
PLAIN = Normalisation((0.5,), (0.25,))


def read_files(at: Path) -> object:
    """`prepare` a folder of files, which has no cache yet."""
    size = Pillow.open(next(at.rglob("*.png"))).width
    recipe = Recipe(data=DataRecipe(image_size=size, burnt_in_text="unchecked"))
    return prepare(at, recipe, workers=1)


def drawn_rows(at: Path) -> object:
    """Random originals of each class."""
    corpus = load_corpus(at)
    return corpus.images[random_rows(corpus, [EACH] * len(corpus.class_names), 0, 0)]


def representatives(at: Path) -> object:
    """Originals of each class by k-means."""
    corpus = load_corpus(at)
    return Representatives.of(corpus, [QUERIES] * len(corpus.class_names), PLAIN).draw(0)


def normalisation(at: Path) -> object:
    """Mean and deviation of the training split."""
    return unwhitened(load_corpus(at), Recipe())


def whitening(at: Path) -> object:
    """The whitening of the training split, and a pass over all its images, whitened."""
    corpus = load_corpus(at)
    found = fitted_whitening(corpus, recipe_of(corpus), Silent())
    white = Normalisation((0.0,), (1.0,), found)
    return passed(LabelledImages.of_split(corpus, "train", white, CPU))


def without_a_site(at: Path) -> object:
    """The corpus for a study in which a site is left out, written."""
    corpus = load_corpus(at)
    return save_without_site(cache_root() / "corpora", corpus, corpus.site_names[0], corpus.class_names)


def an_expert(at: Path) -> object:
    """One expert of two epochs, as `medistill experts` trains it."""
    corpus = load_corpus(at)
    settings = ["method.experts.count=1", "method.experts.epochs=2", "method.experts.batch_size=256"]
    settings += ["method.expert_epochs=1", "method.max_start_epoch=1"]
    return train_experts(corpus, recipe_of(corpus, *settings), device="cpu")


def one_epoch(at: Path) -> object:
    """An epoch of a narrow network on all originals."""
    corpus = load_corpus(at)
    data = LabelledImages.of_split(corpus, "train", PLAIN, CPU)
    generator = torch.Generator().manual_seed(0)
    return train(network(corpus), data, Schedule(1, 256, 0.01), AugmentationRecipe(), generator, micro_batch=BATCH)


def all_probabilities(at: Path) -> object:
    """What a network says of every original."""
    corpus = load_corpus(at)
    data = LabelledImages.of_corpus(corpus, np.arange(len(corpus.images)), PLAIN, CPU)
    with torch.no_grad():
        return predict_logits(network(corpus), data, micro_batch=BATCH).softmax(1)


def encoding(at: Path) -> object:
    """The features of every image; what sees them costs next to nothing."""
    return features_of(load_corpus(at), encoder(), CPU, Silent())


def probe(at: Path) -> object:
    """A probe fitted to the features of all originals."""
    corpus, sees = load_corpus(at), encoder()
    classes, (channels, size, _) = len(corpus.class_names), corpus.images.shape[1:]
    spec = NetworkSpec(NetworkRecipe(name="probe"), channels, size, classes, encoder=sees)
    data = features_at(corpus, corpus.rows("train"), sees, CPU)
    rng = torch.Generator().manual_seed(0)
    return train_network(TrainingSet(data, Penalty(1.0)), spec, Recipe(), rng, CPU)


def copies(at: Path) -> object:
    """The search for copies by pixels, of ten images beside both splits."""
    corpus = load_corpus(at)
    held_out = np.sort(np.concatenate([corpus.rows("val"), corpus.rows("test")]))
    grey = grey_of(corpus, corpus.rows("train")[:QUERIES], CPU)
    return compare_in(
        contrast_normalised(windows(grey).flatten(2)),
        corpus.rows("train"),
        held_out,
        lambda rows: contrast_normalised(crops(grey_of(corpus, rows, CPU)).flatten(1)),
        corpus.groups,
        np.full(QUERIES, -1),
        lambda rows: contrast_normalised(windows(grey_of(corpus, rows, CPU)).flatten(2)),
    )


def quick_audit(at: Path) -> object:
    """Every attack for which no network is trained to be attacked, on ten images."""
    corpus = load_corpus(at)
    recipe = recipe_of(corpus, "evaluate.raw_epochs=1")
    size, each = corpus.images.shape[-1], QUERIES // len(corpus.class_names)
    noise = np.random.default_rng(0).normal(size=(each * len(corpus.class_names), 1, size, size))
    said = {"corpus": corpus.content, "recipe": recipe.model_dump(mode="json"), "starts_from": "noise"}
    made = DistilledSet(
        images=noise.astype(np.float32),
        labels=np.repeat(np.arange(len(corpus.class_names)), each),
        weights=np.ones(len(noise), np.float32),
        stage=np.zeros(len(noise), np.int64),
        student_lr=0.01,
        normalisation=unwhitened(corpus, recipe),
        class_names=corpus.class_names,
        provenance=Provenance.read(said),
    )
    return audit(made, corpus, recipe, out=cache_root() / "audit", quick=True, built_in=True, device="cpu")


def recipe_of(corpus: Corpus, *settings: str) -> Recipe:
    """The demo's recipe for such images, with a narrow network."""
    narrow = [f"data.image_size={corpus.images.shape[-1]}", f"network.width={SPEC.width}", "schedule.choose=fixed"]
    return load_recipe("demo", [*narrow, *settings])


def network(corpus: Corpus) -> nn.Module:
    """A narrow network for a corpus."""
    spec = NetworkSpec(SPEC, corpus.images.shape[1], corpus.images.shape[-1], len(corpus.class_names))
    return build_network(spec, torch.Generator().manual_seed(0))


def passed(data: LabelledImages) -> float:
    """Read all images in shuffled batches; return the sum of what was read."""
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    return sum(float(data.batch(rows).sum()) for rows in order.split(256))


class Averages(nn.Module):
    """Sees the averages of an image through random numbers, which is enough for as many features as one likes."""

    def __init__(self) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        self.directions = torch.randn(3 * GRID**2, FEATURES, generator=rng) / GRID

    def forward(self, images: Tensor) -> Tensor:
        """Return features (N, D)."""
        return torch.tanh(nn.functional.adaptive_avg_pool2d(images, GRID).flatten(1) @ self.directions)


def encoder() -> Encoder:
    """An encoder that costs next to nothing."""
    said = EncoderDescription(
        architecture="efficientnet_lite0", licence="CC0-1.0", trained_on="nothing", source="this bench", layers=(),
        image_size=32, fixed_size=False, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25),
    )  # fmt: skip
    return Encoder(said, "0" * 64, Averages().eval(), torch.zeros(FEATURES), torch.ones(FEATURES))


STAGES: dict[str, Callable[[Path], object]] = {
    "prepare": read_files,
    "normalisation": normalisation,
    "whitening": whitening,
    "random rows": drawn_rows,
    "k-means": representatives,
    "a site left out": without_a_site,
    "an expert": an_expert,
    "an epoch": one_epoch,
    "all probabilities": all_probabilities,
    "encoding": encoding,
    "a probe": probe,
    "search for copies": copies,
    "quick audit": quick_audit,
}
