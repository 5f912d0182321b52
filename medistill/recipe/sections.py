"""The sections of a recipe: every setting of a run as frozen data. A recipe names no code, so it may travel."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from medistill.recipe.arms import ControlArm
from medistill.recipe.class_map import ClassMap
from medistill.recipe.methods import QUANTISING, Method, contradictions, with_method
from medistill.recipe.privacy import PrivacyRecipe, broken_conditions
from medistill.recipe.quantise import AutoencoderRecipe, QuantiseRecipe
from medistill.recipe.schedule import ScheduleRecipe
from medistill.recipe.section import MOST_NUMBER, Count, CountOrNone, Fraction, Names, Positive, Section, Text
from medistill.recipe.strictness import Deviation, Laxer, deviations, strictness

Operation = Literal["color", "crop", "cutout", "flip", "scale", "rotate"]
NetworkName = Literal["convnet", "resnet18", "vgg11", "alexnet", "densenet121"]
PatientIds = Literal["site", "global"]


class DataRecipe(Section):
    """How files become a corpus."""

    image_size: Annotated[int, Field(ge=8, le=1024)] = 32
    """Height and width of every image, in pixels."""
    channels: Literal[1, 3] = 1
    """1 for radiographs, 3 for colour images."""
    fit: Literal["stretch", "pad", "crop"] = "stretch"
    """How an oblong image becomes square: stretched, padded with black, or its centre cropped."""
    orientation: Literal["standard", "as_stored"] = "standard"
    """DICOM images whose header says that they lie on their side, upside down or mirrored (PatientOrientation) are
    turned to the standard view, head on top and the patient's left on the right; or left as they are stored."""
    voi: Literal["auto", "window", "lut", "none"] = "auto"
    """Which DICOM display transform is applied: `auto` takes the VOI LUT sequence, else the window, else none."""
    low_percentile: Annotated[float, Field(ge=0, lt=50)] = 0.5
    """Grey values below this percentile of an image become black (files deeper than 8 bits only)."""
    high_percentile: Annotated[float, Field(gt=50, le=100)] = 99.5
    """Grey values above this percentile of an image become white (files deeper than 8 bits only)."""
    view_policy: Literal["reject", "keep"] = "reject"
    """`reject` refuses lateral views, DICOM files that do not say their view, and files of which a table says a view
    that is not known; `keep` takes every view."""
    burnt_in_text: Literal["auto", "unchecked", "mask", "quarantine"] = "auto"
    """Text other than side markers that is drawn into the pixels is not looked for; painted over (`mask`); or its file
    refused. `auto` is `mask` for images of 64 pixels and more, in which letters can be read, where the extra
    `medistill[ocr]` is installed; without it they stay unchecked, and the set cannot pass its audit. Looking takes
    0.1 s an image at 64 pixels, 0.5 s at 224, on one core."""
    flagged_headers: Literal["refuse", "tell"] = "refuse"
    """DICOM files that say that text which identifies somebody is burnt in, or that a person can be recognised
    (BurnedInAnnotation, RecognizableVisualFeatures), are refused; or taken, and the report tells how many."""
    secondary_captures: Literal["refuse", "tell"] = "tell"
    """The same for DICOM files that are secondary captures, such as screenshots and scanned films."""
    not_chest: Literal["refuse", "tell"] = "refuse"
    """DICOM files that say that they are no radiographs, or show another part of the body than the chest (Modality,
    SOPClassUID, AnatomicRegionSequence, BodyPartExamined, and where these say nothing the descriptions of series and
    study), are refused; or taken, and the report tells how many. Files that say nothing of it are taken and counted."""
    classes: Names = ()
    """Classes to take, in this order; empty takes all, in alphabetical order."""
    class_map: ClassMap = Field(default={})
    """Classes that count as one: `{ Abnormal = ["COVID", "Viral_Pneumonia"] }` unites these two. `classes` then means
    the united ones. In `--set`: `data.class_map.Abnormal=COVID,Viral_Pneumonia`."""
    several_findings: Literal["refuse", "priority"] = "refuse"
    """`refuse` leaves out images to which a table gives several findings, or an uncertain one; `priority` gives them
    the first of `classes` that they have, and leaves out those in which one before it is uncertain."""
    sites: Names = ()
    """Sites to take; empty takes all."""
    prefer_sites: Names = ()
    """Sites to take alone, and to say so, where the corpus has every one of them; another corpus is taken whole."""
    folders: Literal["auto", "site/class", "class/site"] = "auto"
    """Which of two levels of folders names the class. `auto` goes by their names, and asks where these do not tell."""
    patient_ids: PatientIds = "site"
    """Whether one patient's number at two sites is of two people (`site`), or of one (`global`)."""
    val_fraction: Fraction = 0.1
    """Share of the patients set aside for validation where no split is given."""
    test_fraction: Fraction = 0.2
    """Share of the patients set aside for testing where no split is given."""
    file_column: Text = ""
    """Column of the labels table that names the file; empty looks for the usual names."""
    label_column: Text = ""
    """Column with the class, or with several findings (`A|B`); empty looks for the usual names."""
    finding_columns: Names = ()
    """Columns of a class each, in which 1 says that it is there, 0 or nothing that not, -1 that it is uncertain. Empty
    takes all columns of such numbers where there is no column with the class."""
    patient_column: Text = ""
    """Column with the patient or group that must stay in one split; empty looks for the usual names."""
    site_column: Text = ""
    """Column with the site; empty looks for the usual names."""
    view_column: Text = ""
    """Column with the view; empty looks for the usual names."""
    split_column: Text = ""
    """Column with the split (train, val, test); empty looks for the usual names."""
    sex_column: Text = ""
    """Column with the patient's sex; empty looks for the usual names."""
    age_column: Text = ""
    """Column with the patient's age in years, or with a unit; empty looks for the usual names."""
    zca: bool = False
    """Whiten the images (ZCA on grey values from 0 to 1), as some published settings for CIFAR do (`zca`)."""
    zca_regularisation: Positive = 0.1
    """Added to the variance in every direction before whitening, in squared units of full scale."""

    @property
    def united(self) -> dict[str, str]:
        """Class of the files -> the class that it counts as, where `class_map` names it."""
        return {name: united for united, names in self.class_map.items() for name in names}


class NetworkRecipe(Section):
    """The network that is trained on raw and on distilled images."""

    name: NetworkName = "convnet"
    """Name in the registry of networks."""
    depth: Annotated[int, Field(ge=1, le=8)] = 3
    """Blocks of a ConvNet, each halving height and width."""
    width: Annotated[int, Field(ge=1, le=65_536)] = 128
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
    sharpness: Annotated[float, Field(ge=0)] = 0.0
    """Radius rho of sharpness-aware training, so that experts end where the loss is flat (FTD); 0 is plain SGD."""
    surrogate_gap: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the surrogate gap in it (alpha of GSAM); 0 is SAM."""
    store: Literal["float32", "bfloat16"] = "float32"
    """Number format of the snapshots on disk; bfloat16 halves the space. Each value is off by 0.4 % at most, the
    movement that is matched by more (2.7 to 4.7 % of its length on the demo, decision 13)."""


class DistillRecipe(Section):
    """The outer optimisation: trajectory matching with the exact gradient."""

    ipc: Count = 10
    """Synthetic images per class; more than a class has training images are possible where `init` is noise."""
    iterations: Count = 1000
    """Outer steps (`Iteration`)."""
    syn_steps: Count = 10
    """Student steps on the distilled images, J (`syn_steps`)."""
    expert_epochs: Count = 2
    """Expert epochs that the student has to match, K (`expert_epochs`)."""
    min_start_epoch: CountOrNone = 0
    """Start snapshots are drawn from this one on (`min_start_epoch`)."""
    max_start_epoch: Count = 10
    """Start snapshots are drawn up to, and not including, this one (`max_start_epoch`)."""
    start_growth: Fraction = 0.0
    """Share of the outer steps over which that range grows from its first snapshot to all (DATM); 0: all at once."""
    segments: Count = 1
    """Segments of trajectories an outer step; their gradients are averaged."""
    sharpness: Annotated[float, Field(ge=0)] = 0.0
    """Radius rho of the sharpness-aware outer step, the L2 norm of the shift of all images (SATM); 0 is plain."""
    stages: Count = 1
    """Stages in which the set is made and trained on, each stage's images joining the earlier ones (PDD)."""
    labels: Literal["hard", "soft"] = "hard"
    """A class an image, or probabilities that start at an expert's answers and are learned with it (DATM)."""
    label_lr: Annotated[float, Field(ge=0)] = 2.0
    """Learning rate of the logits of soft labels (`lr_y`)."""
    image_lr: Positive = 100.0
    """Learning rate of the images (`lr_img`)."""
    student_lr: Positive = 0.01
    """Initial learning rate of the student, alpha (`lr_teacher`)."""
    student_lr_lr: Annotated[float, Field(ge=0)] = 1e-5
    """Learning rate of alpha in the published unit (`lr_lr`); alpha moves by its logarithm, so it stays positive."""
    momentum: Fraction = 0.5
    """Momentum of the images' and of alpha's SGD."""
    batch_syn: CountOrNone = 0
    """Distilled images a student step (`batch_syn`); 0 takes all of them."""
    init: Literal["real", "noise", "quantised"] = "real"
    """Images start from real training images (`pix_init` real), from Gaussian noise, or from the decoded centroids of
    the section `quantise`, each the mean of several patients."""
    ema: Fraction = 0.0
    """Decay of the moving average of the images that is kept as the result; 0 keeps the images themselves."""
    validate_every: Count = 100
    """Outer steps between two looks at the validation split."""
    validate_networks: Count = 3
    """Fresh networks trained at each look."""
    validate_epochs: Count = 300
    """Epochs of each of them."""
    keep_looks: bool = False
    """Keep the images of every look, so that a benchmark can tell the best test accuracy of the run, as papers do."""
    checkpoint_every: Count = 25
    """Outer steps between two saved states."""


class ImportanceRecipe(Section):
    """The self-adaptive weights W of IADD (arXiv 2401.15863); its open choices are ours, see the method page."""

    mask: Literal["none", "unlike", "easy", "hard"] = "none"
    """Parameters left out of a match: those that differ between student and expert by more than a threshold (PP), the
    `mask_share` with the smallest error (PAD), or with the largest."""
    mask_share: Fraction = 0.5
    """Share of the parameters that `easy` and `hard` leave out."""
    mask_until: Fraction = 0.0
    """Share of the outer steps over which that share falls to 0 (HoP-TM's easy to hard); 0 keeps it."""
    mask_likeness: Fraction = 0.1
    """`unlike` leaves a parameter out where its two values have other signs, or where the smaller one is below this
    share of the larger one."""
    start: Literal["ones", "relative"] = "ones"
    """W starts at 1, or so that each group counts by its error relative to the expert's movement."""
    scale: Literal["linear", "log"] = "linear"
    """Whether SGD moves W or its logarithm."""
    granularity: Literal["tensor", "layer", "scalar"] = "tensor"
    """One weight a parameter tensor, a layer, or a single parameter."""
    constraint: Literal["mean_square", "movement", "none"] = "mean_square"
    """`mean_square` keeps the parameter-weighted mean of w squared at 1, `movement` the mean weighted by the groups'
    squared movement; `none` is the literal reading."""
    direction: Literal["descent", "ascent", "frozen"] = "descent"
    """W descends the loss, ascends it, or stays 1 (which is MTT)."""
    lr: Annotated[float, Field(ge=0)] = 0.001
    """Learning rate of W. Measured: from 0.01 on W did harm, see the ledger."""
    momentum: Fraction = 0.5
    """Momentum of W's SGD."""


class EvaluateRecipe(Section):
    """Fresh networks, trained on each arm and tested on the real test split."""

    networks: Annotated[int, Field(ge=1, le=100)] = 5
    """Networks (seeds) an arm (`num_eval`)."""
    epochs: Annotated[Count, Laxer("below", than=300)] = 1000
    """Epochs on the distilled and on the random real images (`epoch_eval_train`)."""
    lr: Positive = 0.01
    """Learning rate on random real images (`lr_net`), and on centroids; on images that were distilled with a learning
    rate it is that one, alpha."""
    raw_epochs: Annotated[Count, Laxer("below", than=20)] = 30
    """Epochs on the raw training split."""
    raw_lr: Positive = 0.01
    """Learning rate on the raw training split."""
    batch_size: Count = 256
    """Images an update, for every arm."""
    momentum: Fraction = 0.9
    """Momentum of SGD."""
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    """L2 penalty."""
    bootstrap: Annotated[int, Field(ge=100, le=MOST_NUMBER)] = 2000
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
    networks: Annotated[int, Field(ge=1, le=100), Laxer("below")] = 5
    """Networks that the loss attack trains on the set, and on each control."""
    shadows: Annotated[CountOrNone, Laxer("below")] = 16
    """Shadow distillations, each of a random half of the training patients; fewer than 4 leave the attack out."""
    shadow_networks: Annotated[int, Field(ge=1, le=100), Laxer("below")] = 1
    """Networks trained on each shadow, and on each control."""
    shadow_experts: Annotated[Count, Laxer("below")] = 2
    """Experts of a shadow distillation, in place of experts.count."""
    shadow_iterations: Annotated[Count, Laxer("below")] = 50
    """Outer steps of a shadow distillation, in place of distill.iterations."""
    canaries: Annotated[CountOrNone, Laxer("below")] = 10
    """Training images that get a wrong label in about half of the shadows; never more than one patient in 20."""


class ComputeRecipe(Section):
    """How the arithmetic is done."""

    precision: Literal["fp32", "tf32", "bf16"] = "fp32"
    """`tf32` and `bf16` trade exactness for speed; resuming to the same bits is promised for fp32 on a CPU."""
    micro_batch: CountOrNone = 0
    """Images that pass the network at once (exact, since no network here has batch statistics); 0 measures once."""
    step: Literal["reverse", "compiled"] = "reverse"
    """Second derivative of a student step: reverse over reverse, layer by layer or compiled. What is compiled is
    compared with the other when a run starts, and refused where it differs."""

    @field_validator("step", mode="before")
    @classmethod
    def _names_what_is_there(cls, step: Any) -> Any:
        if step == "forward":
            raise ValueError('"reverse", which gives the same derivative faster; "forward" is gone')
        return step


class Recipe(Section):
    """Every setting of a run."""

    name: Text = "custom"
    """Name of the recipe."""
    description: Annotated[str, Field(max_length=10_000)] = ""
    """One paragraph on what it is for and where its figures come from."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed from which every random number of the run is derived."""
    method: Method = "iadd"
    """Method of the family. It fills in the settings that make it, which `medistill recipes show` prints in full."""
    data: DataRecipe = DataRecipe()
    network: NetworkRecipe = NetworkRecipe()
    augmentation: AugmentationRecipe = AugmentationRecipe()
    experts: ExpertsRecipe = ExpertsRecipe()
    distill: DistillRecipe = DistillRecipe()
    importance: ImportanceRecipe = ImportanceRecipe()
    quantise: QuantiseRecipe = QuantiseRecipe()
    autoencoder: AutoencoderRecipe = AutoencoderRecipe()
    evaluate: EvaluateRecipe = EvaluateRecipe()
    schedule: ScheduleRecipe = ScheduleRecipe()
    audit: AuditRecipe = AuditRecipe()
    compute: ComputeRecipe = ComputeRecipe()
    privacy: PrivacyRecipe = PrivacyRecipe()

    @model_validator(mode="before")
    @classmethod
    def _fill_in_the_method(cls, settings: Any) -> Any:
        return with_method(settings) if isinstance(settings, Mapping) else settings

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        if turned_on := contradictions(self.method, self.model_dump()):
            raise ValueError(f"method {self.method} leaves off what is set here: {', '.join(turned_on)}")
        if self.distill.min_start_epoch >= self.distill.max_start_epoch:
            raise ValueError(
                f"distill.min_start_epoch {self.distill.min_start_epoch} is not below distill.max_start_epoch "
                f"{self.distill.max_start_epoch}"
            )
        start_epochs = self.distill.max_start_epoch - self.distill.min_start_epoch
        if self.distill.stages > min(self.distill.ipc, start_epochs, self.distill.iterations):
            raise ValueError(
                f"distill.stages {self.distill.stages} needs as many images per class, start epochs and outer steps, "
                f"but there are {self.distill.ipc} (distill.ipc), {start_epochs} and {self.distill.iterations} "
                "(distill.iterations)"
            )
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
        if self.quantising and self.distill.init != "quantised":
            raise ValueError(
                f"method {self.method} makes images of centroids (distill.init = quantised), but distill.init is "
                f"{self.distill.init}"
            )
        if list(self.quantise.nested) != sorted(set(self.quantise.nested)):
            raise ValueError(f"quantise.nested {list(self.quantise.nested)} does not ascend")
        if (self.quantise.encoder == "brought") != bool(self.quantise.decoder):
            raise ValueError(
                "quantise.encoder = brought and quantise.decoder go together; --decoder FOLDER sets them both"
            )
        if self.data.image_size % 2 ** (self.autoencoder.levels - 1) and self.quantise.encoder == "autoencoder":
            raise ValueError(
                f"autoencoder.levels {self.autoencoder.levels} halves the image {self.autoencoder.levels - 1} times, "
                f"which data.image_size {self.data.image_size} does not allow"
            )
        if self.data.several_findings == "priority" and not self.data.classes:
            raise ValueError(
                "data.several_findings = priority takes the first of data.classes, but these are not named; name them "
                "in the order in which they go before one another"
            )
        if self.data.val_fraction + self.data.test_fraction >= 1:
            raise ValueError("data.val_fraction + data.test_fraction leaves nothing to train on")
        if broken := broken_conditions(self.model_dump()):
            raise ValueError(f"differential privacy (privacy.mode = dp) would not hold: {'; '.join(broken)}")
        return self

    @property
    def quantising(self) -> bool:
        """Whether the method quantises the corpus; the others follow experts."""
        return self.method in QUANTISING

    @property
    def fewest_patients(self) -> int:
        """Training patients that a class needs: those of a cell where images are, or begin as, means of patients."""
        return self.quantise.min_cluster_size if self.distill.init == "quantised" else 1

    @property
    def fewest_images(self) -> int:
        """Training images that a class needs: as many as distilled ones are asked for, but one where these are noise
        at first."""
        return 1 if self.distill.init == "noise" else self.distill.ipc

    @property
    def strictness(self) -> dict[str, float]:
        """The settings on which an audit depends, with their values."""
        return strictness({"audit": self.audit, "evaluate": self.evaluate})

    @property
    def digest(self) -> str:
        """SHA-256 over every setting but the name, the description and the audit's."""
        settings = self.model_dump(mode="json", exclude={"name", "description", "audit"})
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def audit_deviations(values: Mapping[str, float]) -> tuple[Deviation, ...]:
    """The settings by which an audit differs from one with the shipped thresholds and budget.

    Args:
        values: as `Recipe.strictness` gives them.
    """
    return deviations(values, {"audit": AuditRecipe, "evaluate": EvaluateRecipe})
