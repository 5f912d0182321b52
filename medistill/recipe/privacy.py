"""The privacy section of a recipe, and what the other sections must keep to for differential privacy to hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from medistill.recipe.data import DataRecipe
from medistill.recipe.section import Count, Positive, Section

Unit = Literal["patient", "study", "image"]
UNITS: Mapping[Unit, str] = {"patient": "patients", "study": "studies", "image": "images"}
"""Units and their plurals, strongest first."""


class PrivacyRecipe(Section):
    """Differential privacy (DP) of the distilled images. Every value here, and in the whole recipe, counts as public:
    none may be read off the patients."""

    mode: Literal["none", "dp"] = "none"
    """`dp` trains the experts by DP-SGD, so that the distilled images are (epsilon, delta)-differentially private;
    `none` promises nothing, and then the other values of this section are not used."""
    epsilon: Annotated[float, Field(ge=0.1, le=100)] = 8.0
    """Budget of the whole run, all experts together; the noise is solved from it. More than 100 would promise nothing
    that is worth the name; less than 0.1 takes long to account and leaves nothing to learn from."""
    delta: Annotated[float, Field(ge=1e-10, lt=1)] = 1e-5
    """Probability with which the bound by epsilon may fail; it has to be below 1 / `units`. Below 1e-10 the
    accountant's arithmetic is not exact enough."""
    unit: Unit = "patient"
    """Whose presence is hidden: a patient with all images, or, where no patient is known, one study, or one image
    alone. Refused where the unit of a training image is not known."""
    units: Count = 1000
    """Public, rounded number N of patients (or studies, or images, see `unit`) of the training split: an expert update
    takes each with probability `method.experts.batch_size` / N. It need not be exact, and must not be counted on the
    patients to be protected."""
    total_epsilon: Annotated[float, Field(ge=0)] = 0.0
    """Most that all releases from the same people may spend together, as far as the ledger of this installation knows;
    a run beyond it is refused before anything is trained. 0: no limit."""
    total_delta: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The same for the sum of their deltas. 0: no limit."""
    clip: Annotated[float, Field(ge=1e-6, le=1e6)] = 1.0
    """Largest L2 norm C of what one unit adds to an update, or of the features of an image in class statistics."""
    mean: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Mean of the normalisation in units of full scale: a constant, since a measured one would tell of the patients."""
    std: Positive = 0.25
    """Deviation of the normalisation in units of full scale."""
    choose: Literal["off", "public"] = "off"
    """`off` takes the images of the last outer step, without a look at the validation split. `public` chooses by that
    split, which you thereby declare to be public data."""


def broken_conditions(data: DataRecipe, privacy: PrivacyRecipe) -> list[str]:
    """What in the data section breaks the guarantee, each with its consequence and remedy; a method adds its own."""
    conditions = {
        "a whitening is fitted to the patients without noise (set data.zca = false)": not data.zca,
        "the list of classes, read off the files, would tell that some patient has a class (name data.classes)": (
            bool(data.classes)
        ),
        "which sites are taken would hang on what the corpus holds (empty data.prefer_sites; data.sites may be used)": (
            not data.prefer_sites
        ),
        f"delta = {privacy.delta:g} is not below 1 / privacy.units = {1 / privacy.units:g}: to publish one unit picked "
        "at random would satisfy that (lower privacy.delta)": privacy.delta < 1 / privacy.units,
    }
    return [broken for broken, kept in conditions.items() if not kept]
