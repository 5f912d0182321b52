"""Subjects: the images that a search for copies compares, as grey values and as a network sees them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from medistill.encoders.encoder import Encoder
from medistill.encoders.features import features_of
from medistill.encoders.store import stored_encoder
from medistill.errors import DivergedError, UsageError
from medistill.evaluate.protocol import random_beside, raw_schedule
from medistill.networks.footprint import micro_batch_size
from medistill.networks.registry import build_network
from medistill.privacy.audit import Subject
from medistill.privacy.copy_search import AuditSubject, CopySignals, FeatureSpace
from medistill.privacy.encoder_space import EncoderSpace
from medistill.privacy.features import Features
from medistill.privacy.signals import Released
from medistill.studies.audit.context import AuditContext
from medistill.studies.audit.looked_at import looked_at
from medistill.training.device import precision
from medistill.training.encoded import seen_by
from medistill.training.images import LabelledImages, grey_of
from medistill.training.loop import train
from medistill.training.randomness import derive_seed, generator

REFERENCE = 200
"""Held-out images, drawn at random, that show how near images of other patients come to training images."""
CENTRE = 1024
"""Training images over which the mean of the features is taken, and images that are read at once for them."""
RANGE = (-0.5, 1.5)
"""Grey values in units of full scale beyond which a distilled image is cut off before it is compared: a few extreme
pixels, white or black to the eye, would else hide what the others show."""


def copy_signals(context: AuditContext, held_out: np.ndarray) -> CopySignals:
    """The distilled images, with tiles these and the stored ones; as many random training images of each class as are
    stored; and images of ``held_out``, rows of the corpus, of other patients."""
    corpus, recipe = context.corpus, context.recipe
    drawn = np.random.default_rng(derive_seed(recipe.seed, "audit", "reference")).permutation(held_out)[:REFERENCE]
    random = random_beside(context.distilled, corpus, recipe.seed, 0)
    return CopySignals(
        subjects=(
            _distilled(context),
            _of_corpus("random", random, np.full(len(random), -1), context),
            _of_corpus("held out", drawn, corpus.groups[drawn], context),
        ),
        corpus=corpus,
        held_out=held_out,
        read=lambda rows: grey_of(corpus, rows, context.device),
        copy_ratio=recipe.audit.copy_ratio,
        smallest_cell=recipe.evaluate.smallest_cell,
    )


def _distilled(context: AuditContext) -> AuditSubject:
    distilled = looked_at(context.distilled)
    nobody = np.full(len(distilled.labels), -1)
    grey = torch.from_numpy(distilled.normalisation.grey(distilled.images).astype(np.float32)).to(context.device)
    normalised = torch.from_numpy(distilled.images).to(context.device)
    return AuditSubject(
        "distilled", grey.clamp(*RANGE), normalised, distilled.labels, distilled.weights, nobody, nobody
    )


def _of_corpus(name: Subject, rows: np.ndarray, own: np.ndarray, context: AuditContext) -> AuditSubject:
    corpus, device = context.corpus, context.device
    shown = LabelledImages.of_corpus(corpus, rows, context.distilled.normalisation, device)
    return AuditSubject(
        name,
        grey_of(corpus, rows, device),
        shown.batch(slice(None)),
        corpus.labels[rows],
        np.ones(len(rows), np.float32),
        own,
        rows,
    )


def feature_space(search: CopySignals, context: AuditContext) -> FeatureSpace:
    """Features of a fresh network trained on the raw training split.

    Raises:
        DivergedError: it left the finite numbers.
    """
    corpus, recipe, device = context.corpus, context.recipe, context.device
    normalisation, rng = context.distilled.normalisation, generator(recipe.seed, "audit", "features")
    network = build_network(context.spec, rng, device)
    micro_batch = micro_batch_size(network, context.spec.shape, chosen=recipe.compute.micro_batch)
    data = LabelledImages.of_split(corpus, "train", normalisation, device)
    with precision(recipe.compute.precision, device):
        flat = train(network, data, raw_schedule(recipe.evaluate), recipe.augmentation, rng, micro_batch=micro_batch)
    if not bool(torch.isfinite(flat.values).all()):
        raise DivergedError(
            "the network trained on the originals, whose features the audit compares, diverged",
            expected="finite parameters",
            do="lower evaluate.raw_lr (--set evaluate.raw_lr=0.003)",
        )
    spread = np.unique(np.linspace(0, len(data) - 1, min(CENTRE, len(data))).astype(int))
    features = Features(network, micro_batch=micro_batch, centre=data.batch(torch.from_numpy(spread).to(device)))

    def read(rows: np.ndarray) -> Tensor:
        pieces = np.array_split(rows, max(1, len(rows) // CENTRE))
        shown = (LabelledImages.of_corpus(corpus, piece, normalisation, device) for piece in pieces)
        return torch.cat([features(images.batch(slice(None))) for images in shown])

    return FeatureSpace(features(torch.cat([subject.normalised for subject in search.subjects])), read)


def encoder_space(search: CopySignals, context: AuditContext) -> EncoderSpace:
    """Features that the set's encoder sees: of the originals those of the cache, of the set what a recipient's probe
    learns from, as rounded as these.

    Raises:
        UsageError: the set was made for no encoder.
        DivergedError: it gives features of the set's images that are not finite.
    """
    device, encoder = context.device, context.spec.encoder
    if encoder is None:
        raise UsageError(
            f"the network {context.spec.words} sees no features of an encoder",
            expected="a set that was made for an encoder (network.name = probe)",
            do="leave out what asks for its features",
        )
    seen = seen_by(encoder, LabelledImages.of_set(looked_at(context.distilled), device), device).pixels.half().float()
    if not bool(torch.isfinite(seen).all()):
        raise DivergedError(
            f"the encoder {encoder.display_name} gives features of the set's images that are not finite",
            expected="numbers that float16 holds",
            do="distil again with a lower method.image_lr, or for another encoder",
        )
    return _space(seen, encoder, search, context)


def target_space(search: CopySignals, context: AuditContext) -> EncoderSpace:
    """The target vectors of the set, beside the features that its teacher has of the originals.

    Raises:
        UsageError: the set has none, names no teacher, or its teacher is another or not on this machine.
    """
    vectors, taught = looked_at(context.distilled).soft_labels, context.distilled.provenance.teacher
    if vectors is None or not context.distilled.by_targets or taught is None:
        raise UsageError(
            "a set without target vectors, or one that does not name the teacher that they come from",
            expected="a set with both",
            do="audit it as its maker sent it",
        )
    teacher = stored_encoder(taught.sha256)
    if teacher.dimension != vectors.shape[1]:
        raise UsageError(
            f"target vectors of {vectors.shape[1]} numbers, of a teacher with {teacher.dimension} features",
            expected="one for each feature",
            do="have the set sent again, with the teacher that it was made with",
        )
    return _space(torch.from_numpy(vectors).to(context.device).half().float(), teacher, search, context)


def released(context: AuditContext) -> Released:
    """The class statistics that travel with the set, beside what its encoder sees in the originals.

    Raises:
        UsageError: there are none, or the set was made for no encoder.
        ArtifactError: they are of another encoder than the set.
    """
    statistics, encoder, corpus = context.distilled.statistics, context.spec.encoder, context.corpus
    if statistics is None or encoder is None:
        raise UsageError(
            "a set without class statistics, or one that was made for no encoder",
            expected="a set with both",
            do="audit it as its maker sent it",
        )
    projection, names = statistics.projection, statistics.record.class_names
    projection.refuse_other_encoder(encoder.sha256, len(encoder.centre))
    features = features_of(corpus, encoder.whole, context.device, context.progress)
    units = corpus.units_of(np.arange(len(corpus.labels)), statistics.record.unit)
    return Released(
        statistics=statistics,
        classes=np.array([names.index(name) if name in names else -1 for name in corpus.class_names])[corpus.labels],
        units=np.where(units < 0, -1 - corpus.groups, units),
        project=lambda rows: projection.apply(features[rows]),
    )


def _space(of_set: Tensor, encoder: Encoder, search: CopySignals, context: AuditContext) -> EncoderSpace:
    """What an encoder sees in the originals, those of the cache, beside numbers (Q, D) of the set's images."""
    features = features_of(context.corpus, encoder, context.device, context.progress)

    def read(rows: np.ndarray) -> Tensor:
        return torch.from_numpy(features[rows]).to(context.device).float()

    of_corpus = (read(subject.rows) for subject in search.subjects[1:])
    return EncoderSpace((of_set, *of_corpus), read, search.train, context.corpus.labels)
