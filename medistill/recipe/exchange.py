"""The exchange section of a recipe: what `medistill exchange-study` tries beside the sets themselves."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from medistill.recipe.section import MOST_NUMBER, AtMost, Positive, Section, Text
from medistill.recipe.variants import Variants

Weights = Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1, max_length=20)]
Sizes = Annotated[tuple[Annotated[int, Field(ge=4, le=MOST_NUMBER)], ...], Field(min_length=2, max_length=20)]


class ExchangeRecipe(Section):
    """What sites do with the sets of others, and what is asked about it. It decides nothing about the set of a site,
    except whose images these are where hospitals are invented."""

    weights: Weights = (0.1, 0.3, 1.0, 3.0, 10.0)
    """Weights to try for an image that was sent, where one of a site's own originals has the weight 1; a site chooses
    among them by its own validation patients. With 0 nothing that was sent is used."""
    guard: Literal["home", "off"] = "off"
    """Whether the guard of a site's own patients is obeyed. It takes the least weight, 0 among them, that they do not
    show to be worse than the best one, by one standard error: where they cannot tell, nothing that was sent is used,
    and nothing is gained at other places either. With `off` the weight of the smallest loss is taken, and the page
    tells what the guard would take."""
    weight: Positive = 1.0
    """The same where a site cannot choose, since its validation patients are of one class."""
    balance: Literal["sites", "images"] = "sites"
    """Who counts alike in united sets: `sites` weighs the images of a class so that every site that sent some counts
    alike, however many it sent; `images` lets a site with twice as many count twice."""
    left_out: Literal["each", "none"] = "each"
    """Sites that are taken to have sent nothing: `each` in turn, where there are three sets at least. At every other
    site with two classes, networks learn from its originals and the sets without that of the one that is left out,
    where they are tested. `none` saves their training."""
    audit: Literal["copies", "full", "off"] = "copies"
    """What is run of `medistill audit` on the set of each site: `copies` is that of ``--quick``, every attack for which
    no network is trained to tell who was among the patients; `full` all of it, which takes longest; `off` nothing."""
    variants: Variants = Field(default={})
    """Other ways of making the sets, each with a column of its own beside the recipe's:
    `{ "epsilon 3" = ["method.name=private-means", "privacy.mode=dp", "privacy.epsilon=3"] }`. Settings of `method`,
    `privacy` and `prune` may differ; none names the recipe's own. Under differential privacy each is one release more.
    In `--set`: `exchange.variants.fewer=method.ipc=5`."""
    hospital: Text = ""
    """Site that is made small: few of its patients are taken, alone and together with the sets of the other sites.
    Empty: none is."""
    patients: Sizes = (10, 20, 50, 100, 200)
    """How many of its training patients are taken."""
    draws: Annotated[int, Field(ge=2, le=100), AtMost(100)] = 10
    """How often they are drawn anew; the larger numbers of a draw hold the smaller ones."""
    folds: Annotated[int, Field(ge=2, le=20), AtMost(20)] = 5
    """Parts of these few patients that are left out in turn to choose the weight, and a probe's penalty, by."""
    invented: Annotated[int, Field(ge=0, le=20), AtMost(20)] = 0
    """Hospitals that are invented: the patients of the one site of the corpus are divided among so many, each of which
    has another exposure, or equalises. Everything that is written calls them invented. 0 invents none."""
    invented_exposure: Annotated[float, Field(ge=0, le=3)] = 0.5
    """How far their exposures lie apart, in stops: their gammas go from 2^-x, the brightest, to 2^x."""
    invented_level: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    """Grey that is added to the brightest and taken from the darkest, as a share of full scale; between them in even
    steps."""
    invented_equalised: Annotated[int, Field(ge=0, le=20), AtMost(20)] = 1
    """How many of them, the last ones, equalise the histogram of every image instead."""
