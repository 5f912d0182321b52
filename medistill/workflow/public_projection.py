"""Public projection: the space of a probe, whitened on public images or on drawn ones, or as a set brings it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.projection import ProjectionKind, ProjectionRecord
from medistill.data.phantom import LARGEST_SIZE, LEAST_SIZE, write_phantom
from medistill.encoders.encoder import Encoder
from medistill.encoders.features import features_of
from medistill.encoders.projecting import public_projection
from medistill.encoders.projection_store import store_projection
from medistill.encoders.store import stored_encoder
from medistill.errors import ArtifactError, DataError, UsageError
from medistill.progress import Progress, Silent
from medistill.recipe import Recipe
from medistill.training.device import choose_device
from medistill.workflow.encoder_choice import with_encoder
from medistill.workflow.prepare import prepare
from medistill.workflow.received import receive
from medistill.workflow.spending import keep_public_people

COMPONENTS = 64
"""Numbers that an image has in such a space, where nobody says how many."""
DRAWN = 400
"""Invented patients, of about 1,200 radiographs, that a space is whitened on where no public images are named."""
FEWEST = 8
"""Numbers of an image below which drawn radiographs tell too little of what an encoder sees."""


def fit_public_projection(
    data: str | Path,
    recipe: Recipe,
    *,
    patients: str | Path | None = None,
    labels: str | Path | None = None,
    sites: Sequence[str] = (),
    components: int = COMPONENTS,
    device: str = "auto",
    progress: Progress = Silent(),
) -> str:
    """Read images that the user declares public, fit a projection to them, and keep it in the cache.

    They may be of other sites in the folder of the patients: then ``sites`` names them, the recipe names those of the
    patients, and none is in both. All their splits and classes are used, their classes and sites to tell what differs
    within them alone. Who is in them is noted in keyed hashes: no budget is spent on any of them (see `spend`).

    Args:
        data: folder of images, as for `prepare`.
        recipe: how images are read, and the encoder (``network.encoder``).
        patients: folder of those who are to be protected, where it is known.
        labels: table of labels, where the folders do not say them.
        sites: sites of that folder to take; empty takes all.
        components: numbers that an image has in the space.

    Returns:
        The digest by which a recipe names it (``network.projection``).

    Raises:
        UsageError: a site is public and private at once, or one folder holds both and sites do not divide it; or the
            encoder is not in the cache.
        DataError: the images are too few or too much alike for so many components, or cannot be read.
    """
    private = sorted(set(sites) & set(recipe.data.sites))
    if private:
        raise UsageError(
            f"site {private[0]} is declared public, and its patients are to be protected",
            expected="public images of nobody who is in the corpus",
            do="name other sites with --public-sites, or leave that one out of --sites",
        )
    if patients is not None and _overlap(Path(data), Path(patients)) and not (sites and recipe.data.sites):
        raise UsageError(
            "the images that are declared public lie in the folder of the patients who are to be protected",
            expected="public images of nobody who is in the corpus",
            do="name another folder with --public; or, where some sites of this one are public, name those with "
            "--public-sites and the sites of the patients with --sites",
        )
    changed = {"classes": (), "class_map": {}, "prefer_sites": (), "sites": tuple(sites)}
    public = recipe.model_copy(
        update={
            "data": recipe.data.model_copy(update=changed),
            "privacy": recipe.privacy.model_copy(update={"mode": "none"}),
        }
    )
    corpus = prepare(data, public, labels=labels, purpose="test", tell_people=True, progress=progress)
    encoder = stored_encoder(with_encoder(recipe).network.encoder)
    digest = projection_of(corpus, encoder, components, device=device, progress=progress)
    progress.say(
        f"The space of the probe is whitened on {len(corpus.images)} images that you declare public; they get no "
        "protection."
    )
    return digest


def _overlap(one: Path, other: Path) -> bool:
    first, second = one.resolve(), other.resolve()
    return first.is_relative_to(second) or second.is_relative_to(first)


def projection_of(
    corpus: Corpus,
    encoder: Encoder,
    components: int,
    *,
    kind: ProjectionKind = "public",
    device: str = "auto",
    progress: Progress = Silent(),
) -> str:
    """Fit a projection to all images of a corpus of others, keep it in the cache, and return its digest.

    Raises:
        DataError: the images are too few or too much alike for so many components.
        ArtifactError: the ledger of privacy, which has the key of the hashes, is damaged or cannot be written.
    """
    features = features_of(corpus, encoder, choose_device(device), progress)
    groups = corpus.sites * len(corpus.class_names) + corpus.labels
    record = ProjectionRecord(kind=kind, encoder=encoder.sha256, images=len(features), corpus=corpus.content)
    digest = store_projection(public_projection(np.asarray(features), groups, components, record))
    if kind == "public":
        keep_public_people(corpus, digest)
    return digest


def fit_invented_projection(recipe: Recipe, *, device: str = "auto", progress: Progress = Silent()) -> str:
    """Draw radiographs of invented patients, fit a projection to them, and keep it in the cache.

    It looks at nobody, so that it costs no budget. The same recipe and machine give the same.

    Args:
        recipe: how images are read, and the encoder (``network.encoder``).

    Returns:
        The digest by which a recipe names it; empty where the encoder tells the drawn ones apart in too few directions:
        then its own centre and scale are left.

    Raises:
        UsageError: the encoder is not in the cache.
        ArtifactError: the disk is full.
    """
    encoder = stored_encoder(with_encoder(recipe).network.encoder)
    unread = {"burnt_in_text": "unchecked", "classes": (), "class_map": {}, "prefer_sites": (), "sites": ()}
    public = recipe.model_copy(
        update={
            "data": recipe.data.model_copy(update={**unread, "patient_column": "", "site_column": ""}),
            "privacy": recipe.privacy.model_copy(update={"mode": "none"}),
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder) / "drawn"
        size = min(max(recipe.data.image_size, LEAST_SIZE), LARGEST_SIZE)
        write_phantom(drawn, patients=DRAWN, size=size, progress=progress)
        corpus = prepare(drawn, public, purpose="test", progress=progress)
    components = min(COMPONENTS, encoder.dimension)
    while components >= FEWEST:
        try:
            digest = projection_of(corpus, encoder, components, kind="invented", device=device, progress=progress)
        except DataError:
            components //= 2
            continue
        progress.say(
            f"The space of the probe is whitened on {len(corpus.images)} drawn radiographs of nobody. Real images that "
            "are public are worth more: --public FOLDER."
        )
        return digest
    progress.say("The encoder tells drawn radiographs apart in too few directions; its own centre and scale are used.")
    return ""


def bring_projection(source: str | Path, *, trust: Sequence[str] = ()) -> str:
    """Take the projection that a received set brings with its class statistics over into the cache.

    Args:
        source: a bundle, the folder of a set or of a run.
        trust: keys of which one must have signed it.

    Returns:
        Its digest.

    Raises:
        ArtifactError: the set is refused, or brings none.
    """
    statistics = receive(source, trust=trust).distilled.statistics
    if statistics is None or not statistics.projection.record.fitted:
        raise ArtifactError(
            f"{source} carries no class statistics in a space that was whitened on images",
            expected="a set that was made by the method private-means, in a whitened space",
            do="name a folder of public images instead",
        )
    return store_projection(statistics.projection)
