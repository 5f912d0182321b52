"""A recipe: every setting of a run as frozen data. It names no code, so it may travel between hospitals."""

from __future__ import annotations

import difflib
import hashlib
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from medistill.errors import RecipeError

Operation = Literal["color", "crop", "cutout", "flip", "scale", "rotate"]
Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A frozen part of a recipe that admits no key it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class DataRecipe(Section):
    """How files become a corpus."""

    image_size: Annotated[int, Field(ge=8, le=1024)] = 32
    """Height and width of every image, in pixels."""
    channels: Literal[1, 3] = 1
    """1 for radiographs, 3 for colour images."""
    fit: Literal["stretch", "pad", "crop"] = "stretch"
    """How an oblong image becomes square: stretched, padded with black, or its centre cropped."""
    voi: Literal["auto", "window", "lut", "none"] = "auto"
    """Which DICOM display transform is applied: `auto` takes the VOI LUT sequence, else the window, else none."""
    low_percentile: Annotated[float, Field(ge=0, lt=50)] = 0.5
    """Grey values below this percentile of an image become black (files deeper than 8 bits only)."""
    high_percentile: Annotated[float, Field(gt=50, le=100)] = 99.5
    """Grey values above this percentile of an image become white (files deeper than 8 bits only)."""
    view_policy: Literal["reject", "keep"] = "reject"
    """`reject` refuses lateral views, and DICOM files that do not say their view; `keep` takes every view."""
    classes: tuple[str, ...] = ()
    """Classes to take, in this order; empty takes all, in alphabetical order."""
    sites: tuple[str, ...] = ()
    """Sites to take; empty takes all."""
    prefer_sites: tuple[str, ...] = ()
    """Sites to take alone, and to say so, where the corpus has every one of them; another corpus is taken whole."""
    val_fraction: Fraction = 0.1
    """Share of the patients set aside for validation where no split is given."""
    test_fraction: Fraction = 0.2
    """Share of the patients set aside for testing where no split is given."""
    file_column: str = ""
    """Column of the labels table that names the file; empty looks for the usual names."""
    label_column: str = ""
    """Column with the class; empty looks for the usual names."""
    patient_column: str = ""
    """Column with the patient or group that must stay in one split; empty looks for the usual names."""
    site_column: str = ""
    """Column with the site; empty looks for the usual names."""
    view_column: str = ""
    """Column with the view; empty looks for the usual names."""
    split_column: str = ""
    """Column with the split (train, val, test); empty looks for the usual names."""


class NetworkRecipe(Section):
    """The network that is trained on raw and on distilled images."""

    name: Literal["convnet", "resnet18", "vgg11", "alexnet"] = "convnet"
    """Name in the registry of networks."""
    depth: Annotated[int, Field(ge=1, le=8)] = 3
    """Blocks of a ConvNet, each halving height and width."""
    width: Annotated[int, Field(ge=1)] = 128
    """Channels of a ConvNet."""


class AugmentationRecipe(Section):
    """Differentiable siamese augmentation (DSA, Zhao, Bilen 2021), alike for experts, distillation and evaluation."""

    operations: tuple[Operation, ...] = ("color", "crop", "cutout", "scale", "rotate")
    """Operations to draw from (`dsa_strategy`); no `flip` for chest X-rays, since it swaps the patient's sides."""
    mode: Literal["single", "all"] = "single"
    """`single` draws one operation a batch, `all` applies every one (`aug_mode` S, M)."""
    flip: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Probability of a horizontal flip (`prob_flip`)."""
    scale: Annotated[float, Field(ge=1)] = 1.2
    """Largest zoom of an axis, and the inverse of the smallest (`ratio_scale`)."""
    rotate: Annotated[float, Field(ge=0, le=180)] = 15.0
    """Largest rotation either way, in degrees (`ratio_rotate`)."""
    crop: Annotated[float, Field(ge=0, lt=1)] = 0.125
    """Largest shift as a share of the image's side (`ratio_crop_pad`)."""
    cutout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Side of the square set to the mean, as a share of the image's side (`ratio_cutout`)."""
    brightness: Annotated[float, Field(ge=0)] = 1.0
    """Width of the uniform shift of brightness, in standard deviations."""
    saturation: Annotated[float, Field(ge=0)] = 2.0
    """Largest factor of the distance to grey; nothing happens to one-channel images."""
    contrast: Annotated[float, Field(ge=0)] = 0.5
    """Smallest factor of the distance to the image's mean; the largest is one more."""


class ExpertsRecipe(Section):
    """Training trajectories on the raw training split."""

    count: Count = 20
    """Number of experts (`num_experts`)."""
    epochs: Count = 20
    """Epochs of each expert (`train_epochs`)."""
    batch_size: Count = 256
    """Images an update (`batch_train`)."""
    lr: Positive = 0.01
    """Learning rate of SGD (`lr_teacher` of the reference's buffer script)."""
    momentum: Fraction = 0.0
    """Momentum of SGD (`mom`)."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """L2 penalty (`l2`)."""


class DistillRecipe(Section):
    """The outer optimisation: trajectory matching with the exact gradient."""

    ipc: Count = 10
    """Synthetic images per class."""
    iterations: Count = 1000
    """Outer steps (`Iteration`)."""
    syn_steps: Count = 10
    """Student steps on the distilled images, J (`syn_steps`)."""
    expert_epochs: Count = 2
    """Expert epochs that the student has to match, K (`expert_epochs`)."""
    max_start_epoch: Count = 10
    """Start snapshots are drawn from 0 up to, and not including, this one (`max_start_epoch`)."""
    image_lr: Positive = 100.0
    """Learning rate of the images (`lr_img`)."""
    student_lr: Positive = 0.01
    """Initial learning rate of the student, alpha (`lr_teacher`)."""
    student_lr_lr: Annotated[float, Field(ge=0)] = 1e-5
    """Learning rate of alpha in the published unit (`lr_lr`); alpha moves by its logarithm, so it stays positive."""
    momentum: Fraction = 0.5
    """Momentum of the images' and of alpha's SGD."""
    batch_syn: Annotated[int, Field(ge=0)] = 0
    """Distilled images a student step (`batch_syn`); 0 takes all of them."""
    init: Literal["real", "noise"] = "real"
    """Images start from real training images (`pix_init` real) or from Gaussian noise."""
    ema: Fraction = 0.0
    """Decay of the moving average of the images that is kept as the result; 0 keeps the images themselves."""
    validate_every: Count = 100
    """Outer steps between two looks at the validation split."""
    validate_networks: Count = 3
    """Fresh networks trained at each look."""
    validate_epochs: Count = 300
    """Epochs of each of them."""
    checkpoint_every: Count = 25
    """Outer steps between two saved states."""


class ImportanceRecipe(Section):
    """The self-adaptive weights W of IADD (arXiv 2401.15863); its open choices are ours, see the method page."""

    granularity: Literal["tensor", "layer", "scalar"] = "tensor"
    """One weight a parameter tensor, a layer, or a single parameter."""
    constraint: Literal["mean_square", "none"] = "mean_square"
    """`mean_square` keeps the parameter-weighted mean of w squared at 1; `none` is the literal reading."""
    direction: Literal["descent", "ascent", "frozen"] = "descent"
    """W descends the loss, ascends it, or stays 1 (which is MTT)."""
    lr: Annotated[float, Field(ge=0)] = 0.01
    """Learning rate of W."""
    momentum: Fraction = 0.5
    """Momentum of W's SGD."""


class EvaluateRecipe(Section):
    """Fresh networks, trained on each arm and tested on the real test split."""

    networks: Annotated[int, Field(ge=1, le=100)] = 5
    """Networks (seeds) an arm (`num_eval`)."""
    epochs: Count = 1000
    """Epochs on the distilled and on the random real images (`epoch_eval_train`)."""
    lr: Positive = 0.01
    """Learning rate on random real images (`lr_net`); on the distilled ones it is the learned alpha."""
    raw_epochs: Count = 30
    """Epochs on the raw training split."""
    raw_lr: Positive = 0.01
    """Learning rate on the raw training split."""
    batch_size: Count = 256
    """Images an update, for every arm."""
    momentum: Fraction = 0.9
    """Momentum of SGD."""
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    """L2 penalty."""
    bootstrap: Annotated[int, Field(ge=100)] = 2000
    """Replicates of the patient-cluster bootstrap."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Level of every interval."""
    margin: Positive = 0.05
    """Non-inferiority margin for the macro AUC, distilled minus raw."""


class ComputeRecipe(Section):
    """How the arithmetic is done."""

    precision: Literal["fp32", "tf32", "bf16"] = "fp32"
    """`tf32` and `bf16` trade exactness for speed; resuming to the same bits is promised for fp32 on a CPU."""
    micro_batch: Annotated[int, Field(ge=0)] = 0
    """Images that pass the network at once (exact, since no network here has batch statistics); 0 chooses by size."""


class Recipe(Section):
    """Every setting of a run."""

    name: str = "custom"
    """Name of the recipe."""
    description: str = ""
    """One paragraph on what it is for and where its figures come from."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed from which every random number of the run is derived."""
    data: DataRecipe = DataRecipe()
    network: NetworkRecipe = NetworkRecipe()
    augmentation: AugmentationRecipe = AugmentationRecipe()
    experts: ExpertsRecipe = ExpertsRecipe()
    distill: DistillRecipe = DistillRecipe()
    importance: ImportanceRecipe = ImportanceRecipe()
    evaluate: EvaluateRecipe = EvaluateRecipe()
    compute: ComputeRecipe = ComputeRecipe()

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        last = self.distill.max_start_epoch - 1 + self.distill.expert_epochs
        if last > self.experts.epochs:
            raise ValueError(
                f"distill.max_start_epoch - 1 + distill.expert_epochs is {last}, "
                f"but experts.epochs makes only {self.experts.epochs} epochs"
            )
        if self.network.name == "convnet" and self.data.image_size < 2**self.network.depth:
            raise ValueError(
                f"network.depth {self.network.depth} halves the image that often, but data.image_size is only "
                f"{self.data.image_size} pixels"
            )
        if self.data.val_fraction + self.data.test_fraction >= 1:
            raise ValueError("data.val_fraction + data.test_fraction leaves nothing to train on")
        return self

    @property
    def digest(self) -> str:
        """SHA-256 over every setting but the name and the description."""
        settings = self.model_dump(mode="json", exclude={"name", "description"})
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(entry.name.removesuffix(".toml") for entry in _shipped().iterdir() if entry.name.endswith(".toml"))


def load_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe that comes with the package, or a TOML file, and apply ``section.key=value`` overrides in order.

    Raises:
        RecipeError: no such recipe, not TOML, an unknown key, or a value outside its range.
    """
    text, origin = _read(name_or_path)
    try:
        settings = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{origin} is not TOML: {error}", expected="a TOML recipe", do="mend that line") from None
    for override in overrides:
        _apply(settings, override)
    return validate_recipe(settings, origin)


def validate_recipe(settings: Mapping[str, Any], origin: str) -> Recipe:
    """Make a recipe of plain values; ``origin`` says in messages where they come from.

    Raises:
        RecipeError: an unknown key, or a value outside its range.
    """
    try:
        return Recipe.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            if "." not in field and isinstance(first["input"], Mapping) and first["input"]:
                field = f"{field}.{next(iter(first['input']))}"  # an unknown section: its first key says what was meant
            key = field.rpartition(".")[2]  # its section may be wrong or left out
            near = [name for name in _fields(Recipe) if name.endswith(f".{key}")]
            near = near or difflib.get_close_matches(field, _fields(Recipe), n=1)
            raise RecipeError(
                f"{origin}: there is no setting '{field}'",
                expected=f"a setting such as '{near[0]}'" if near else "one that `medistill recipes show` prints",
                do="correct the name or leave it out",
            ) from None
        message = first["msg"].removeprefix("Value error, ").partition(", unable to parse")[0]
        message = message.replace("Input should be a valid", "a valid").replace("Input should be", "a value that is")
        if first["type"] == "model_type":
            message = f"settings in that section, as in {next(n for n in _fields(Recipe) if n.startswith(field))}"
        seen = f"{origin}: {field} = {first['input']!r}" if field else f"{origin}: {message}"
        raise RecipeError(
            seen, expected=message if field else "settings that fit together", do="correct it in the recipe or by --set"
        ) from None


def recipe_differences(mine: Recipe, other: Recipe) -> list[str]:
    """Name each setting in which two recipes differ, as ``section.key: mine, not other``."""
    flat_mine, flat_other = dict(_flatten(mine.model_dump())), dict(_flatten(other.model_dump()))
    return [
        f"{key}: {flat_mine[key]!r}, not {flat_other[key]!r}"
        for key in flat_mine
        if flat_mine[key] != flat_other[key] and key not in ("name", "description")
    ]


def recipe_toml(recipe: Recipe) -> str:
    """The recipe as TOML text, every setting spelled out."""
    import tomli_w

    return tomli_w.dumps(recipe.model_dump(mode="json"))


def _shipped() -> Any:
    """The folder of recipes: inside the wheel, or beside the package in a checkout."""
    inside = resources.files("medistill") / "recipes"
    return inside if inside.is_dir() else Path(__file__).resolve().parent.parent / "recipes"


def _read(name_or_path: str | Path) -> tuple[str, str]:
    text = str(name_or_path)
    if not text.endswith(".toml") and text in recipe_names():
        return (_shipped() / f"{text}.toml").read_text(encoding="utf-8"), f"recipe {text}"
    path = Path(text)
    if not path.is_file():
        near = difflib.get_close_matches(text, recipe_names(), n=1)
        raise RecipeError(
            f"there is no recipe '{text}'",
            expected=f"one of {', '.join(recipe_names())}, or a path to a .toml file",
            do=f"take '{near[0]}'" if near else "run `medistill recipes list`",
        )
    try:
        return path.read_text(encoding="utf-8"), str(path)
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} cannot be read: {error}", expected="a UTF-8 text file", do="check it") from None


def _apply(settings: dict[str, Any], override: str) -> None:
    key, sign, text = override.partition("=")
    parts = key.strip().split(".")
    if not sign or not all(parts) or len(parts) > 2:
        raise RecipeError(
            f"--set {override}", expected="section.key=value, as in distill.ipc=10", do="write it in that form"
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    if len(parts) == 2 and isinstance(value, str) and _is_list(*parts):
        value = [item.strip() for item in value.split(",") if item.strip()]
    target = settings
    for part in parts[:-1]:
        target = target.setdefault(part, {})
        if not isinstance(target, dict):
            raise RecipeError(
                f"--set {override}: {part} has no settings", expected="section.key=value", do="correct it"
            )
    target[parts[-1]] = value


def _is_list(section: str, key: str) -> bool:
    model = Recipe.model_fields.get(section)
    if model is None or not isinstance(model.annotation, type) or not issubclass(model.annotation, Section):
        return False
    field = model.annotation.model_fields.get(key)
    return field is not None and Ellipsis in get_args(field.annotation)


def _fields(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _fields(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
