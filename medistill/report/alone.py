"""Alone: what networks are worth on images where nothing is set beside them, as at another hospital."""

from __future__ import annotations

from medistill.evaluate.evaluation import ArmResult, Evaluation
from medistill.evaluate.intervals import Estimate
from medistill.recipe.arms import CONTROLS
from medistill.report.estimates import Form, figure, interval
from medistill.report.wording import class_label, counted, level, listed, number, percent, sentences

NAMED = 6
"""Most classes whose sensitivities stand in a sentence."""


def stands_alone(evaluation: Evaluation) -> bool:
    """Whether no network was trained on originals, so that there is an answer, and no comparison."""
    return evaluation.arm("distilled") is not None and not any(evaluation.arm(name) for name in CONTROLS)


def heading(evaluation: Evaluation, arm: ArmResult) -> str:
    """The answer in one line: the AUC, or where there is none the accuracy."""
    images = counted(evaluation.test_images, "test image")
    if evaluation.tested == "all images":
        images = f"all {counted(evaluation.test_images, 'image')}"
    present = _present(evaluation)
    if arm.macro_auc.value is not None:
        return f"{_area(evaluation)[:1].upper()}{_area(evaluation)[1:]} {number(arm.macro_auc.value)} on {images}"
    of = f" of {class_label(present[0])}" if len(present) == 1 else ""
    value = arm.accuracy.value
    return f"Accuracy {'not known' if value is None else percent(value)} on {images}{of}"


def answer(evaluation: Evaluation, arm: ArmResult, *, classifier: bool) -> str:
    """The AUC with its interval, the accuracy, what each class's sensitivity is, and which classes were not there."""
    who = "The classifier" if classifier else "Networks trained on the distilled images"
    has, puts = ("has", "puts") if classifier else ("have", "put")
    confidence, present = level(evaluation.confidence), _present(evaluation)
    share = _figure(arm.accuracy, "" if arm.macro_auc.value is not None else confidence, share=True)
    if arm.macro_auc.value is not None:
        article = "an" if _area(evaluation) == "AUC" else "a"
        first = (
            f"{who} {has} {article} {_area(evaluation)} of {_figure(arm.macro_auc, confidence)} here for telling "
            f"{listed([class_label(name) for name in present])} apart, and {puts} {share} of the images into their "
            "class."
        )
    else:
        first = f"{who} {puts} {share} of the images into their class. There is no AUC: {arm.macro_auc.reason}."
    return sentences(first, _by_class(evaluation, arm), _not_there(evaluation)).strip()


def compared(evaluation: Evaluation) -> str:
    """Why there is nothing to compare with."""
    if evaluation.tested == "all images":
        return (
            "Nothing was compared: every image of this corpus was tested, so that no network could be trained on its "
            "originals."
        )
    return "Nothing was compared, since no network was trained on originals."


def _present(evaluation: Evaluation) -> list[str]:
    return [name for name in evaluation.class_names if name not in evaluation.absent]


def _area(evaluation: Evaluation) -> str:
    """With two classes both have the same AUC, so that it is no mean."""
    return "AUC" if len(evaluation.class_names) == 2 else "macro AUC"


def _figure(estimate: Estimate, confidence: str, *, share: bool = False) -> str:
    if estimate.value is None:
        return f"an unknown share ({estimate.reason})"
    form: Form = "share" if share else "number"
    limits = interval(estimate, form)
    stated = f"{confidence} {limits}".strip() if limits else f"no interval: {estimate.reason}"
    return f"{figure(estimate.value, form)} ({stated})"


def _by_class(evaluation: Evaluation, arm: ArmResult) -> str:
    shown = [
        result for result in arm.classes if result.name not in evaluation.absent and result.recall.value is not None
    ]
    if not 2 <= len(shown) <= NAMED:
        return ""
    shares = [f"of {class_label(one.name)} {_figure(one.recall, '', share=True)}" for one in shown]
    return f"Of each class are found: {listed(shares)}."


def _not_there(evaluation: Evaluation) -> str:
    if not evaluation.absent:
        return ""
    names = listed([class_label(name) for name in evaluation.absent], "or")
    they = "it is" if len(evaluation.absent) == 1 else "they are"
    return f"No image of {names} was there: nothing is known of how {they} shares from the others here."
