"""A whole report without a run: predictions drawn at random, everything else made up, so that pages can be rendered."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from medistill.artifacts.quantised_summary import QuantisedSummary
from medistill.evaluate.comparison import compare
from medistill.evaluate.evaluation import Evaluation
from medistill.evaluate.intervals import Estimate
from medistill.evaluate.predictions import ArmPredictions, Trait, Truth
from medistill.evaluate.published import BenchmarkResult, PublishedFigure
from medistill.evaluate.schedule_choice import Candidate, ScheduleChoice, Trial
from medistill.privacy.attacks.initialisation_leakage import RECOVERED, SINGLED_OUT
from medistill.privacy.audit import MAKING, Audit, CopyFigures, CopyRule, GroupCopies, LeakageFigures
from medistill.privacy.copy_search import COPIES
from medistill.privacy.criterion import Criterion
from medistill.privacy.gate import HELD_OUT, LAXER, MAKING_NAME
from medistill.privacy.letters import Overlay, PlantedWord, TextFigures
from medistill.privacy.membership import (
    SOURCES,
    AttackCell,
    CanaryTest,
    Detection,
    LabelTest,
    Membership,
    MembershipAttack,
    OneRun,
    OneRunBound,
    SoftLabels,
)
from medistill.privacy.score_attack import FOUND
from medistill.quantisation.record import ClassQuantisation, Quantisation, RatePoint
from medistill.recipe import EvaluateRecipe, load_recipe
from medistill.recipe.arms import ArmName
from medistill.recipe.load import sections_of
from medistill.report.comparison import BetweenRuns, Comparison, compared_run, differing_settings
from medistill.report.pictures import ClassPictures, class_pictures
from medistill.report.record import Course, HeldOutSite, Making, Report
from medistill.report.summaries import CorpusSummary, SetSummary
from medistill.report.verdict import verdict
from medistill.report.worded import worded

NAMES = ("COVID", "Lung_Opacity", "Normal", "Viral_Pneumonia")
SITES = ("bimcv", "rsna", "guangzhou", "radiopaedia")
SKILL: dict[ArmName, float] = {"raw": 2.0, "random": 0.7, "kmeans": 0.9, "hard": 1.3, "distilled": 1.7}
SPACES = ("pixels", "structure", "features")
RECIPE = load_recipe("covid-xray-cpu", ["method.init=real"])
SETTINGS = EvaluateRecipe(bootstrap=100, smallest_cell=10)


def truth(seed: int, patients: int, classes: int = 4) -> Truth:
    """Two images a patient; the site 'radiopaedia' has a handful, the site 'guangzhou' one class alone."""
    numbers = np.random.default_rng(seed)
    groups = np.repeat(np.arange(patients), 2)
    labels = (np.arange(patients) % classes)[groups]
    site = np.where(labels == classes - 1, 2, numbers.integers(0, 2, patients)[groups])
    site[groups >= patients - 3] = 3
    traits: dict[Trait, tuple[str, ...]] = {
        "site": tuple(SITES[k] for k in site),
        "view": tuple(("PA", "AP")[k] for k in numbers.integers(0, 2, len(groups))),
        "sex": tuple(("female", "male", "")[k] for k in numbers.integers(0, 3, patients)[groups]),
    }
    return Truth(labels, groups, traits)


def predictions(arm: ArmName, splits: tuple[Truth, Truth], skill: float, *, classes: int = 4) -> ArmPredictions:
    """Three networks that know the class as well as ``skill`` says."""
    numbers = np.random.default_rng(list(SKILL).index(arm))

    def softmax(of: Truth) -> np.ndarray:
        raised = np.exp(numbers.normal(size=(3, len(of.labels), classes)) + skill * np.eye(classes)[of.labels])
        return (raised / raised.sum(axis=2, keepdims=True)).astype(np.float32)

    few = arm != "raw"
    return ArmPredictions(
        arm,
        softmax(splits[0]),
        softmax(splits[1]),
        images=10 * classes if few else 3000 * classes,
        bytes=(10 if few else 3000) * classes * 112 * 112,
        epochs=1000 if few else 30,
        seconds=33.0 if few else 700.0,
    )


def evaluation(
    arms: tuple[ArmName, ...] = tuple(SKILL),
    *,
    patients: int = 120,
    network: str = "ConvNet, depth 3, width 128",
    weaker: float = 0,
) -> Evaluation:
    """Arms compared on a test split of that many patients."""
    splits = truth(0, 60), truth(1, patients)
    told = [predictions(arm, splits, SKILL[arm] - weaker) for arm in arms]
    schedules = tuple(schedule(of_arm.arm, k) for k, of_arm in enumerate(told))
    compared = compare(told, *splits, NAMES, SETTINGS, seed=7, network=network, parameters=319_000, schedules=schedules)
    return replace(compared, originals="apart", set_digest="a" * 64)


def schedule(arm: ArmName, k: int) -> ScheduleChoice:
    """How an arm was trained; one rate diverged."""
    trials = [
        *(Trial(Candidate(64, rate, 250), (0.80 - 0.02 * k, 0.81 - 0.02 * k)) for rate in (0.003, 0.01)),
        Trial(Candidate(64, 0.03, 250), (), "a network trained at learning rate 0.03 diverged"),
        *(Trial(Candidate(64, 0.01, length), (0.9 - 0.02 * k - 20 / length,)) for length in (500, 1000)),
    ]
    return ScheduleChoice(arm, Candidate(64, 0.01, 1000), tuple(trials), False, 400, "the validation split", 12.5)


@cache
def whole() -> Report:
    """Four classes, five arms, two further networks, sites left out, every section filled."""
    found = evaluation()
    distilled = SetSummary(
        images=40, ipc=10, shape=(1, 112, 112), student_lr=0.0123, method="IADD", starts_from="real", chosen_step=300,
        training_images=dict.fromkeys(NAMES, 3000), training_groups=6000, split_unit="patient", synthetic_source=False,
        privacy="No formal privacy guarantee was sought in this mode.",
        files={"images.safetensors": "a" * 64},
    )  # fmt: skip
    corpus = CorpusSummary(
        sites=SITES,
        counts={split: dict.fromkeys(NAMES, count) for split, count in (("train", 3000), ("val", 30), ("test", 60))},
        counts_by_site={site: dict.fromkeys(NAMES, 10 + 5 * k) for k, site in enumerate(SITES)},
        patients={"train": 6000, "val": 60, "test": 120},
        found=12400,
        refused={"not a radiograph": 31, "truncated": 9},
        split_unit="patient",
        split_source="drawn",
        synthetic=False,
        notes=("Two files had no <window>.",),
    )
    known = Report(
        title="40 images distilled from 12 000 real ones",
        synthetic=False,
        shows_real=False,
        verdict=verdict(found),
        not_promised=(),
        evaluation=found,
        across=tuple(
            evaluation(("raw", "random", "distilled"), network=name, weaker=less)
            for name, less in (("ResNet-18", 0.3), ("DenseNet-121", 0.6))
        ),
        sites=(
            HeldOutSite("bimcv", evaluation(("raw", "distilled"), patients=40, weaker=0.8), ""),
            HeldOutSite("rsna", evaluation(("raw", "distilled"), patients=60, weaker=1.0), ""),
            HeldOutSite("guangzhou", None, "without it, class 'Viral_Pneumonia' has no training image"),
        ),
        audit=audited(),
        benchmark=BenchmarkResult(
            "CIFAR-10",
            10,
            31.4,
            0.6,
            32.0,
            300,
            ("40 outer steps in place of 5 000.",),
            (
                PublishedFigure("MTT", 65.3, "hard", "Cazenavette et al., CVPR 2022, table 1"),
                PublishedFigure("IADD", 68.1, "soft", "arXiv 2401.15863, table 2"),
            ),
        ),
        methods=(),
        checklist=(),
        distilled=distilled,
        corpus=corpus,
        quantisation=None,
        course=course(),
        making=Making(
            seed=7,
            recipe="covid-xray-cpu",
            settings={name: values for name, values in sections_of(RECIPE).items() if name},
            versions={"medistill": "0.1.0", "torch": "2.13.0"},
            device="cpu",
            hardware="a processor, 2 threads",
            commands=("medistill distill --recipe run/recipe.toml --data xray", "medistill report run"),
            stages={"prepare": 31.0, "experts": 620.0, "distill": 1300.5, "evaluate": 140.0},
            hashes={"corpus": "c" * 64, "recipe": "d" * 64},
        ),
        missing={},
    )
    return worded(known)


def report_of(
    evaluation: Evaluation,
    distilled: SetSummary | None,
    corpus: CorpusSummary | None,
    *,
    synthetic: bool | None,
    held_out: bool = False,
    benchmark: bool = False,
    departs: bool = False,
    audit: Audit | None = None,
) -> Report:
    """A report that knows this and nothing else.

    Args:
        held_out: a set that was distilled without a site was tested there.
        benchmark: the corpus is a benchmark of the field.
        departs: the run departs from its published setting.
    """
    published = BenchmarkResult("CIFAR-10", 1, 30.0, None, None, None, ("Fewer steps.",) if departs else (), ())
    return Report(
        title="", synthetic=synthetic, shows_real=False, verdict=verdict(evaluation), not_promised=(),
        evaluation=evaluation, across=(), sites=(HeldOutSite("north", evaluation, ""),) if held_out else (),
        audit=audit, benchmark=published if benchmark else None, methods=(), checklist=(), distilled=distilled,
        corpus=corpus, quantisation=None, course=None, making=Making(None, "", {}, {}, "", "", (), {}, {}), missing={},
    )  # fmt: skip


def audited() -> Audit:
    """A set that fails for its starting images, every part filled, one site and one attack without figures."""
    share = Estimate(0.3, 0.17, 0.46)
    nothing = Estimate.impossible("a false positive rate of 1 in 1,000 needs 1,000 non-members, and there are 180")
    classes = tuple(GroupCopies(name, 10, 0) for name in NAMES)
    sites = (*(GroupCopies(site, 13, 0) for site in SITES[:3]), GroupCopies(SITES[3], None, None))
    cell = AttackCell("all", "", 6000, 180, Estimate(0.61, 0.57, 0.65), (
        Detection(100, Estimate(0.02, 0.017, 0.024), 0.2), Detection(1000, nothing, None),
    ))  # fmt: skip
    hidden = Estimate.impossible("fewer than 10 patients on one side, who might be recognised")
    by_class = AttackCell("class", "Viral_Pneumonia", None, None, hidden, (), hidden.reason)
    return Audit(
        verdict="fail",
        criteria=(
            Criterion(MAKING_NAME, 40, 40, "pass", "Its record is sealed here", MAKING),
            Criterion("Settings laxer than the shipped ones", 0, 0, "pass", "", LAXER),
            Criterion("Held-out patients", 180, 100, "pass", "", HELD_OUT),
            Criterion("Copies in pixels", 0.0, 0.0, "pass", "", COPIES, "copies in pixels"),
            Criterion(SINGLED_OUT, 0.3, 0.05, "fail", "", RECOVERED, "initialisation leakage"),
            Criterion("Membership inference", None, 0.05, "not enough evidence", "too few <shadows>", FOUND),
        ),
        rules=tuple(CopyRule(space, 0.5, 180) for space in SPACES),
        copies=tuple(
            CopyFigures(
                subject,
                space,
                40,
                40 if subject == "random" else 0,
                0.71,
                0.98,
                Estimate(0.53, reason="counted") if space == "pixels" else Estimate.impossible("not worked out"),
                classes,
                sites,
            )
            for space in SPACES
            for subject in ("distilled", "random", "held out")
        ),
        residue=(
            LeakageFigures("distilled", 40, 0.21, -0.01, share, 0.0003, share),
            LeakageFigures("random", 40, 1.0, -0.01, Estimate(1.0, 0.91, 1.0), 0.0003, Estimate(1.0, 0.91, 1.0)),
        ),
        residue_reason="",
        membership=Membership(
            attacks=(
                *(MembershipAttack("loss", source, (cell, by_class)) for source in SOURCES),
                MembershipAttack("likelihood ratio, out only", "distilled", (), reason="there are 2 shadows"),
            ),
            canaries=(CanaryTest("distilled", 20, share, Estimate(0.1, 0.02, 0.3), 0.04),),
            networks=5,
            shadows=16,
            shadow_networks=2,
            shadow_experts=2,
            shadow_iterations=20,
            confidence=0.95,
            seconds=600.0,
            one_run=one_run(),
            soft_labels=SoftLabels(
                (LabelTest("distilled", 16, 20, 0.543, 0.0907), LabelTest("raw", 16, 20, 0.968, 1e-12))
            ),
        ),
        guarantee="The set was made without differential privacy: nothing is guaranteed formally.",
        not_tested=("Reconstruction was not tried.",),
        train_images=12000,
        held_out_images=360,
        held_out_patients=180,
        split_unit="patient",
        network="ConvNet, depth 3, width 128",
        set_digest="a" * 64,
        corpus="c" * 64,
        thresholds=RECIPE.strictness,
        seed=7,
        versions={"medistill": "0.1.0"},
        device="cpu",
        command="medistill audit run --data xray",
        seconds=75.0,
        text=text_figures(),
    )


def one_run() -> OneRun:
    """Coins for 100 patients; the control gives away more than the set, which promises nothing."""
    rule = "a fifth as in, a fifth as out"
    bounds = (
        OneRunBound("distilled", "distance", True, rule, 40, 34, 12, 0.2345),
        OneRunBound("random", "distance", False, rule, 40, 40, 3, 2.1),
        OneRunBound("raw", "loss", False, rule, 40, 20, 6, 0.0),
    )
    return OneRun(100, 47, 1e-5, 0.95, bounds, None, "the set states no differential privacy", 61.5)


def text_figures() -> TextFigures:
    """Originals that were masked, a set of 112 pixels without letters, one site that shares a logo, one not shown."""
    return TextFigures(
        side=112,
        legible=True,
        originals="RapidOCR 3.10, ONNX Runtime 1.23",
        policy="mask",
        drawn_here=False,
        reader="RapidOCR 3.10, ONNX Runtime 1.23",
        images=40,
        found=(),
        planted=(PlantedWord(15, 6, 2, False), PlantedWord(30, 6, 6, True), PlantedWord(60, 6, 6, True)),
        overlays=(
            *(Overlay(site, 3000, 0.0, 0, None, None) for site in SITES[:2]),
            Overlay(SITES[2], 3000, 0.02, 0, 0.41, 0.2),
            Overlay(SITES[3], None, None, None, None, None),
        ),
    )


def course() -> Course:
    """400 steps, eight looks, the importance of eight groups kept."""
    names = tuple(f"features.{4 * k}.{part}" for k in range(3) for part in ("weight", "bias"))
    looks = tuple(range(50, 401, 50))
    return Course(
        loss=tuple(0.9 * 0.995**k + 0.02 * (k % 7) for k in range(400)),
        student_lr=tuple(0.01 + k / 1e5 for k in range(400)),
        importance_names=(*names, "classifier.weight", "classifier.bias"),
        importance=tuple(tuple(1 + 0.002 * (g - 3) * look**0.8 for g in range(8)) for look in looks),
        looks=looks,
        accuracy=(0.4, 0.5, 0.55, 0.6, 0.61, 0.63, 0.62, 0.61),
        auc=(0.70, 0.78, 0.81, 0.84, 0.85, 0.87, 0.86, 0.86),
        chosen_step=300,
    )


def quantisation() -> Quantisation:
    """Four classes in 64 principal components; Lung Opacity lost a centroid."""
    numbers = np.random.default_rng(11)
    counts = (1, 2, 5, 10, 20, 50, 100, 200)
    found = []
    for k, name in enumerate(NAMES):
        lost = int(name == "Lung_Opacity")
        patients = np.sort(numbers.geometric(0.006, 10 - lost) + 6)[::-1] + (0 if k else 1)
        patients[-1] = 6 + 3 * k
        w2 = 31.0 - 2.5 * k
        found.append(
            ClassQuantisation(
                class_name=name, images=3000, patients=1500, given_up=lost, set_aside=4 * lost,
                cell_images=tuple(int(n) for n in 2 * patients), cell_patients=tuple(int(n) for n in patients),
                reconstruction=11.4 + k, error=round(((11.4 + k) ** 2 + w2**2) ** 0.5, 3), w2=w2,
                w2_uniform=w2 + 1.9, w2_random=w2 + 6.3,
                rate=tuple(RatePoint(centroids=n, w2=(w2 + 8) * n**-0.11) for n in counts),
            )
        )  # fmt: skip
    return Quantisation(
        encoder="pca", words="64 principal components", dimension=64, grey_codes=True, explained=0.957, decoder="",
        licence="", min_cluster_size=5, nested=(1, 10), weights="mass", priors="equal", patient_unit="patient",
        classes=tuple(found), sampled=5000,
    )  # fmt: skip


@cache
def quantised() -> Report:
    """The same corpus, quantised: no course, weights, labels of a teacher."""
    known, base = quantisation(), whole()
    stated = QuantisedSummary(
        min_cluster_size=5,
        smallest_cluster=known.smallest,
        encoder="pca",
        dimension=64,
        weights="mass",
        labels="soft",
        temperature=2.0,
        teachers=1,
    )
    assert base.distilled is not None
    distilled = replace(
        base.distilled, images=39, method="DDOQ", starts_from="quantised", chosen_step=None, uneven=True,
        quantised=stated,
    )  # fmt: skip
    recipe = load_recipe("covid-xray-cpu", ["method.name=ddoq"])
    settings = {name: values for name, values in sections_of(recipe).items() if name}
    known_report = replace(
        base,
        title="39 images distilled from 12 000 real ones",
        distilled=distilled,
        benchmark=None,
        quantisation=known,
        course=None,
        making=replace(base.making, settings=settings, recipe="covid-xray-ddoq"),
        missing={"course": "method DDOQ has no outer steps, and so no course"},
    )
    return worded(known_report)


def pictures() -> tuple[ClassPictures, ...]:
    """40 pictures of 112 by 112 pixels, noise on a smooth ground, so that they have the size of real ones."""
    numbers = np.random.default_rng(3)
    ground = 128 + 80 * np.sin(np.linspace(0, 6, 112))[:, None] * np.cos(np.linspace(0, 5, 112))
    images = np.clip(ground + numbers.normal(0, 12, (40, 1, 112, 112)), 0, 255).astype(np.uint8)
    return class_pictures(images, np.arange(40) % 4, NAMES)


def alone(report: Report) -> Report:
    """The same, as a folder gives it that holds nothing but an evaluation."""
    nowhere = "this folder does not hold it"
    return replace(
        report, across=(), sites=(), audit=None, benchmark=None, methods=(), checklist=(), distilled=None, corpus=None,
        quantisation=None, course=None,
        making=Making(None, "", {}, {}, "", "", (), {}, {}),
        missing=dict.fromkeys(("distilled", "corpus", "course", "making", "audit"), nowhere),
    )  # fmt: skip


def comparison() -> Comparison:
    """Two runs side by side."""
    first = whole()
    second = replace(first, evaluation=first.across[0], making=replace(first.making, recipe="covid-xray-gpu", seed=8))
    runs = tuple(compared_run(name, report) for name, report in (("run-a", first), ("run-b", second)))
    gain = second.evaluation.differences[0]
    return Comparison(
        class_names=NAMES,
        runs=runs,
        settings=differing_settings((first, second)),
        same_test=True,
        comparable="Every run was tested on the same images of the same corpus.",
        differences=(BetweenRuns("run-b", "run-a", gain.macro_auc, gain.accuracy),),
        confidence=0.95,
        replicates=100,
    )
