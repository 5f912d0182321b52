"""What networks see of a corpus: its normalisation, fitted to the training images where it may be."""

from __future__ import annotations

from dataclasses import replace

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.normalisation import Normalisation
from medistill.artifacts.whitening import Whitening
from medistill.progress import Progress
from medistill.recipe import Recipe


def fitted_normalisation(corpus: Corpus, recipe: Recipe, progress: Progress) -> Normalisation:
    """Return what networks see of a corpus under a recipe, the whitening included where there is one."""
    normalisation = unwhitened(corpus, recipe)
    if not recipe.data.zca:
        return normalisation
    return replace(normalisation, whitening=fitted_whitening(corpus, recipe, progress))


def fitted_whitening(corpus: Corpus, recipe: Recipe, progress: Progress) -> Whitening:
    """Fit the whitening to the training images."""
    progress.say("The whitening of the training images is fitted, once for this corpus.")
    return Whitening.of(corpus.images, recipe.data.zca_regularisation, corpus.rows("train"))


def unwhitened(corpus: Corpus, recipe: Recipe) -> Normalisation:
    """Return what networks see but for a whitening, whose fit takes long."""
    channels = corpus.images.shape[1]
    if recipe.privacy.mode == "dp":
        return Normalisation((recipe.privacy.mean,) * channels, (recipe.privacy.std,) * channels)
    if recipe.data.zca:
        return Normalisation.full_scale(channels)
    return Normalisation.of(corpus.images, corpus.rows("train"))
