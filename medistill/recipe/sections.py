"""Sections of a recipe that no method owns: network, augmentation, evaluation, audit, arithmetic."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from medistill.recipe.arms import ControlArm
from medistill.recipe.section import MOST_NUMBER, AtMost, Count, CountOrNone, Fraction, Positive, Section
from medistill.recipe.strictness import Laxer

LEAST_SHADOWS = 4
"""Fewer shadows cannot tell how an answer varies where an image is not held."""
LEAST_COINS = 20
"""Fewer coins say too little: all of 20 guessed rightly, in one way that was fixed before, show an epsilon of 1.8."""
Operation = Literal["color", "crop", "cutout", "flip", "scale", "rotate"]
NetworkName = Literal["convnet", "resnet18", "vgg11", "alexnet", "densenet121", "probe"]


class NetworkRecipe(Section):
    """The network that is trained on raw and on distilled images."""

    name: NetworkName = "convnet"
    """Name in the registry of networks."""
    depth: Annotated[int, Field(ge=1, le=8), AtMost(8)] = 3
    """Blocks of a ConvNet, each halving height and width."""
    width: Annotated[int, Field(ge=1, le=65_536), AtMost(1024)] = 128
    """Channels of a ConvNet."""
    encoder: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = ""
    """SHA-256 of the frozen encoder whose features a `probe`, a linear layer, is trained on; --encoder sets it. Empty:
    the only one in the cache, whose hash the run then records."""
    projection: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = ""
    """Digest of the space that the encoder's features are projected to, whitened on images that were declared public
    (--public sets it) or on drawn ones. Empty: the features as they are."""

    def of(self, name: NetworkName) -> NetworkRecipe:
        """Return the same settings of another network; a probe alone has an encoder."""
        return self.model_copy(update={"name": name, "encoder": self.encoder if name == "probe" else ""})


class AugmentationRecipe(Section):
    """Differentiable siamese augmentation (DSA, Zhao, Bilen 2021), alike for experts, distillation and evaluation."""

    operations: tuple[Operation, ...] = ("color", "crop", "cutout", "scale", "rotate")
    """Operations to draw from (`dsa_strategy`); no `flip` for chest X-rays, since it swaps the patient's sides."""
    mode: Literal["single", "all"] = "single"
    """`single` draws one operation a batch, `all` applies every one (`aug_mode` S, M)."""
    flip: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Probability of a horizontal flip (`prob_flip`)."""
    scale: Annotated[float, Field(ge=1, le=100)] = 1.2
    """Largest zoom of an axis, and the inverse of the smallest (`ratio_scale`)."""
    rotate: Annotated[float, Field(ge=0, le=180)] = 15.0
    """Largest rotation either way, in degrees (`ratio_rotate`)."""
    crop: Annotated[float, Field(ge=0, lt=1)] = 0.125
    """Largest shift as a share of the image's side (`ratio_crop_pad`)."""
    cutout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Side of the square set to the mean, as a share of the image's side (`ratio_cutout`)."""
    brightness: Annotated[float, Field(ge=0, le=100)] = 1.0
    """Width of the uniform shift of brightness, in standard deviations."""
    saturation: Annotated[float, Field(ge=0, le=100)] = 2.0
    """Largest factor of the distance to grey; nothing happens to one-channel images."""
    contrast: Annotated[float, Field(ge=0, le=100)] = 0.5
    """Smallest factor of the distance to the image's mean; the largest is one more."""


class EvaluateRecipe(Section):
    """Fresh networks, trained on each arm and tested on the real test split."""

    networks: Annotated[int, Field(ge=1, le=100), AtMost(100)] = 5
    """Networks (seeds) an arm (`num_eval`)."""
    epochs: Annotated[Count, Laxer("below", than=300), AtMost(20_000)] = 1000
    """Epochs on the distilled and on the random real images (`epoch_eval_train`)."""
    lr: Annotated[Positive, Laxer("below", than=0.001, later=True)] = 0.01
    """Learning rate on random real images (`lr_net`), on centroids, and on images whose method learns none; on
    images that were distilled with a learning rate it is that one, alpha."""
    raw_epochs: Annotated[Count, Laxer("below", than=20), AtMost(2000)] = 30
    """Epochs on the raw training split."""
    raw_lr: Annotated[Positive, Laxer("below", than=0.001, later=True)] = 0.01
    """Learning rate on the raw training split."""
    batch_size: Annotated[Count, AtMost(65_536)] = 256
    """Images an update, for every arm."""
    momentum: Fraction = 0.9
    """Momentum of SGD."""
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    """L2 penalty."""
    bootstrap: Annotated[int, Field(ge=100, le=MOST_NUMBER), AtMost(100_000)] = 2000
    """Replicates of the patient-cluster bootstrap."""
    confidence: Annotated[float, Field(gt=0.5, lt=1), Laxer("above")] = 0.95
    """Level of every interval."""
    margin: Positive = 0.05
    """Non-inferiority margin for the macro AUC, distilled minus raw."""
    specificity: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """Specificity that the second threshold of each class reaches on the validation split."""
    smallest_cell: Annotated[Count, Laxer("above")] = 10
    """Fewest patients for whom a subgroup's figures are shown, and of a class whose own figures have intervals."""
    arms: Annotated[tuple[ControlArm, ...], Field(max_length=10)] = ("raw", "random", "kmeans")
    """Arms that the distilled set is compared with."""
    across: Annotated[tuple[NetworkName, ...], Field(max_length=10)] = ()
    """Other networks on which the arms are compared too, by their names in the registry."""


class AuditRecipe(Section):
    """Thresholds of the gate, and the budget of the attacks. They are ours: no standard gives any, and they decide
    nothing about the set itself. A set that passes by laxer ones than these leaves only at an acknowledged risk."""

    copy_ratio: Annotated[float, Field(gt=0, lt=1), Laxer("below")] = 0.5
    """A distilled image is a copy where the nearest training image is nearer than this share of the distance to the
    nearest held-out one, and nearer than real images of other patients are."""
    most_copies: Annotated[Fraction, Laxer("above")] = 0.0
    """Largest share of the distilled images that may be copies."""
    most_recovered: Annotated[Fraction, Laxer("above")] = 0.05
    """Largest share of the distilled images that may single out the real image that they began as."""
    least_cluster: Annotated[Count, Laxer("below")] = 3
    """Fewest patients (images, where no patient is known) whose mean an image of a quantised set may have begun as."""
    least_held_out: Annotated[Count, Laxer("below")] = 100
    """Fewest held-out images, and patients, without which no audit passes."""
    most_found: Annotated[Fraction, Laxer("above")] = 0.05
    """Largest share of the training patients that an attack may find while it is wrong about 1 in 100 others."""
    most_auc: Annotated[float, Field(ge=0.5, le=1), Laxer("above")] = 0.6
    """Largest area under the curve that an attack may have; 0.5 is guessing."""
    canary_chance: Annotated[Fraction, Laxer("below")] = 0.01
    """Probability below which it is no accident that networks repeat the wrong labels of canaries."""
    networks: Annotated[int, Field(ge=1, le=100), Laxer("below"), AtMost(100)] = 5
    """Networks that the loss attack trains on the set, and on each control."""
    shadows: Annotated[CountOrNone, Laxer("below"), AtMost(1000)] = 16
    """Shadow distillations, each of a random half of the training patients: 4 at least, or 0, which leaves the attacks
    out that need them."""
    shadow_networks: Annotated[int, Field(ge=1, le=100), Laxer("below"), AtMost(100)] = 1
    """Networks trained on each shadow, and on each control."""
    shadow_experts: Annotated[Count, Laxer("below"), AtMost(100)] = 2
    """Experts of a shadow distillation, in place of the recipe's own number."""
    shadow_iterations: Annotated[Count, Laxer("below"), AtMost(10_000)] = 50
    """Outer steps of a shadow distillation, in place of the recipe's own number; at least one for each stage (`stages`)
    or layer (h-glad) of the method."""
    canaries: Annotated[CountOrNone, Laxer("below"), AtMost(10_000)] = 10
    """Training images that get a wrong label in about half of the shadows; never more than one patient in 20."""
    one_run_canaries: Annotated[CountOrNone, Laxer("below", later=True), AtMost(10_000)] = 0
    """Training patients for each of whom a coin decides whether they are in the one set that is made once more, to
    bound epsilon from below: 20 at least, and all of them where there are fewer. 0 makes none: it takes as long as the
    set itself."""

    @field_validator("shadows", "one_run_canaries")
    @classmethod
    def _enough_to_tell(cls, count: int, info: ValidationInfo) -> int:
        """Refuse what could be made and would say nothing, before hours are spent on it."""
        least = LEAST_SHADOWS if info.field_name == "shadows" else LEAST_COINS
        if 0 < count < least:
            raise ValueError(f"{least} or more, since fewer can tell nothing; or 0 for none")
        return count


class ComputeRecipe(Section):
    """How the arithmetic is done."""

    precision: Literal["fp32", "tf32", "bf16"] = "fp32"
    """`tf32` and `bf16` trade exactness for speed; resuming to the same bits is promised for fp32 on a CPU."""
    micro_batch: Annotated[CountOrNone, AtMost(65_536)] = 0
    """Images that pass the network at once (exact, since no network here has batch statistics); 0 takes as many as
    keep the activations of a layer in a processor's cache, and all of them on a GPU."""
    step: Literal["reverse", "compiled"] = "reverse"
    """Second derivative of a student step: reverse over reverse, layer by layer or compiled. What is compiled is
    compared with the other when a run starts, and refused where it differs."""

    graphs: Annotated[CountOrNone, AtMost(10_000)] = 0
    """Student steps whose graph the walk back finds as the walk forward left it, the last ones of a walk; 0 keeps none
    and computes each anew. The bits are the same. Ten images of 32 pixels and a ConvNet of width 128 take 35 MB a step,
    as much as naive differentiation, and a fifth less time. One that is walked in micro-batches is not kept."""

    @field_validator("step", mode="before")
    @classmethod
    def _names_what_is_there(cls, step: Any) -> Any:
        if step == "forward":
            raise ValueError('"reverse", which gives the same derivative faster; "forward" is gone')
        return step
