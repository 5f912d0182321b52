"""The method section of a recipe: what every method's settings have, and how those of the named one are found.

Which methods there are is for the files of `medistill/methods` to say: this layer lies below them, and knows them by
name alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, Self, TypeGuard

from pydantic import BeforeValidator, SerializeAsAny

from medistill.errors import UsageError
from medistill.method_names import DEFAULT_METHOD, method_module, method_names
from medistill.recipe.denoiser import DenoiserRecipe
from medistill.recipe.experts import FlatExpertsRecipe
from medistill.recipe.privacy import PrivacyRecipe
from medistill.recipe.quantise import AnyCells, AutoencoderRecipe, QuantiseRecipe
from medistill.recipe.section import AtMost, Count, Section

Start = Literal["real", "noise", "quantised", "patches"]
"""What images begin as; patches of originals they stay."""
Draw = Literal["random", "leverage", "distance"]
"""How training images are drawn that images begin as."""


class MethodSettings(Section):
    """The method, and its own settings. `medistill recipes show NAME --method METHOD` prints those of another one."""

    OWN: ClassVar[tuple[str, ...]] = ()
    """Settings that make the method what it is: `--method` sets them to its defaults, whatever the recipe had."""
    MAY_PROMISE: ClassVar[bool] = False
    """Whether there are settings of it under which differential privacy holds (`breaches`)."""

    name: str
    """Name of the method. It says which settings there are."""
    ipc: Annotated[Count, AtMost(10_000)] = 10
    """Synthetic images per class; more than a class has training images are possible where they begin as noise."""

    @property
    def starts_from(self) -> Start:
        """What the images begin as."""
        return "real"

    @property
    def start_drawn_by(self) -> Draw:
        """How the training images are drawn, where images begin as such."""
        return "random"

    @property
    def at_rest(self) -> tuple[str, ...]:
        """Its settings that came later and do nothing here: a recipe is known by the same digest without them."""
        return ()

    @property
    def start_norm(self) -> float:
        """L2 norm of each image that begins as noise; 0: every pixel has deviation 1."""
        return 0.0

    @property
    def quantisation(self) -> AnyCells | None:
        """How the corpus is quantised, where the images are, or begin as, centroids; else None."""
        return None

    @property
    def codes(self) -> QuantiseRecipe | None:
        """What gives the codes that images are, or begin as, the decoder's images of; None where none are decoded."""
        return self.quantisation if isinstance(self.quantisation, QuantiseRecipe) else None

    @property
    def trained_autoencoder(self) -> AutoencoderRecipe | None:
        """How the autoencoder is trained in whose codes the corpus is quantised; None where none is."""
        return None

    @property
    def scored_by(self) -> DenoiserRecipe | None:
        """The denoiser that scores regions of the originals; None where none does."""
        return None

    @property
    def learns_labels(self) -> bool:
        """Whether the set has soft labels."""
        return False

    @property
    def taught_by(self) -> str | None:
        """SHA-256 of the frozen encoder whose features are the targets of its images; empty where it is the only one of
        the cache, None where there are no such targets."""
        return None

    @property
    def tile_factor(self) -> int:
        """Tiles of a side of a stored image, f: networks are shown f^2 images in its place; 1 is the image itself."""
        return 1

    @property
    def begun(self) -> int:
        """Originals or centroids of each class that the images begin as: one for each of their tiles or patches."""
        return self.ipc * self.tile_factor**2

    @property
    def stage_count(self) -> int:
        """Stages in which the set is made and trained on."""
        return 1

    @property
    def followed(self) -> FlatExpertsRecipe | None:
        """The experts that are followed, every setting of them; None where none are."""
        return None

    @property
    def outer_steps(self) -> int:
        """Outer steps in which the images are optimised."""
        return 0

    @property
    def one_release(self) -> bool:
        """Whether it looks at the patients once, in one release under differential privacy, and never again."""
        return False

    @property
    def wants_space(self) -> bool:
        """Whether it is to have a space that was whitened on images of nobody who is to be protected."""
        return False

    @property
    def compares_features(self) -> bool:
        """Whether it compares features of networks that begin with random numbers, of which a probe has none."""
        return False

    @property
    def holds_grey(self) -> bool:
        """Whether it holds the grey value of each pixel between black and white, which a whitened one does not have."""
        return False

    def cut_down(self, *, experts: int, iterations: int) -> Self:
        """The same with at most so many experts and so many outer steps: what a shadow of an audit is made with."""
        return self

    def misfits(self, image_size: int) -> Iterator[str]:
        """What does not fit together, each in a sentence.

        Args:
            image_size: height and width of the images, in pixels.
        """
        yield from ()

    def breaches(self, privacy: PrivacyRecipe) -> Iterator[str]:
        """By what differential privacy would be broken, each with its remedy in parentheses.

        A method that says nothing of it has no guarantee.
        """
        yield (
            f"method {self.name} sees patients' images without noise (set method.name to one that follows experts, or, "
            "with an encoder, to private-means)"
        )


def experts_of(method: MethodSettings) -> FlatExpertsRecipe:
    """The experts that a method follows.

    Raises:
        UsageError: it follows none.
    """
    if method.followed is None:
        raise UsageError(
            f"method {method.name} follows no experts",
            expected="a method that matches trajectories",
            do="run `medistill distill`, or choose another --method",
        )
    return method.followed


def autoencoder_of(method: MethodSettings) -> AutoencoderRecipe:
    """The autoencoder that a method trains.

    Raises:
        UsageError: it trains none.
    """
    if method.trained_autoencoder is None:
        raise UsageError(
            f"method {method.name} trains no autoencoder here",
            expected="a corpus that is quantised in the codes of one",
            do="set method.quantise.encoder=autoencoder",
        )
    return method.trained_autoencoder


def quantisation_of(method: MethodSettings) -> AnyCells:
    """How a method quantises the corpus.

    Raises:
        UsageError: it does not.
    """
    if method.quantisation is None:
        raise UsageError(
            f"method {method.name} quantises nothing here",
            expected="a method whose images are, or begin as, centroids",
            do="add --method ddoq or --set method.init=quantised",
        )
    return method.quantisation


@cache
def settings_kind(name: str) -> type[MethodSettings]:
    """The settings that a method has.

    Raises:
        KeyError: there is no method of that name.
    """
    kind: type[MethodSettings] = method_module(name).METHOD.settings_type
    return kind


def methods_with(path: str) -> list[str]:
    """Names of the methods that have a setting.

    Args:
        path: its name within the method, as ``ipc`` or ``experts.lr``.
    """
    return [name for name in method_names() if field_of(settings_kind(name), path) is not None]


def field_of(kind: type[Section], path: str) -> Any:
    """The field (`pydantic.fields.FieldInfo`) of a section at a dotted path; None where it has none."""
    name, dot, rest = path.partition(".")
    field = kind.model_fields.get(name)
    if field is None or not dot:
        return field
    return field_of(field.annotation, rest) if is_section(field.annotation) else None


def is_section(kind: object) -> TypeGuard[type[Section]]:
    """Whether a field's annotation is a section, with settings of its own."""
    return isinstance(kind, type) and issubclass(kind, Section)


def default_method() -> MethodSettings:
    """The settings of a recipe that names no method."""
    return settings_kind(DEFAULT_METHOD)()  # type: ignore[call-arg]  # every method has its own name by default


def _chosen(value: Any) -> Any:
    """The settings of the method that plain values name, checked by that method."""
    if isinstance(value, MethodSettings):
        return value
    if not isinstance(value, Mapping):
        raise ValueError("settings in that section, as in method.name")
    name = value.get("name", DEFAULT_METHOD)
    if name not in [*method_names()]:
        raise ValueError(f"a method.name that is one of {', '.join(map(repr, method_names()))}")
    return settings_kind(name).model_validate(value)


AnyMethod = Annotated[SerializeAsAny[MethodSettings], BeforeValidator(_chosen)]
"""Settings of whichever method is named: a setting that it does not have cannot be written down."""
