"""Outer step statements: what each change of the images was made by, in sentences of a methods section."""

from __future__ import annotations

import math
from collections.abc import Iterator

from medistill.methods.unrolling.method import MOVED
from medistill.report.record import Report
from medistill.report.wording import count, counted, sentences, short, were


def outer_steps(report: Report) -> str:
    """What the outer steps did."""
    if report.facts.experts:
        return _matching(report)
    settings = report.making.section("method")
    told = {name: count(value) if type(value) is int else value for name, value in settings.items()}
    return report.facts.steps.format_map(told)


def _matching(report: Report) -> str:
    distill, experts = report.making.section("method"), report.making.section("method.experts")
    first, last = distill["min_start_epoch"], distill["max_start_epoch"] - 1
    starts = f"epoch {first}" if first == last else f"epochs {first} to {last}"
    trained = (
        f"{counted(experts['count'], 'expert')} {were(experts['count'])} trained on the training split for "
        f"{counted(experts['epochs'], 'epoch')}{_privately(report)}.{_selected(report)}"
    )
    steps, alone = distill["iterations"], _alone_from(report)
    if alone == 1:
        return sentences(trained, f"None of the {count(steps)} outer steps followed them.", *_real(report))
    when = (
        f"In each outer step ({count(steps)} in all)"
        if alone is None
        else f"In each of the first {count(alone - 1)} of {count(steps)} outer steps"
    )
    return sentences(
        trained,
        f"{when} a student "
        f"network started from an expert's parameters after {starts} and took {counted(distill['syn_steps'], 'step')} "
        "of gradient descent on the distilled images; these were then changed so that its parameters came closer to "
        f"those of the expert {counted(distill['expert_epochs'], 'epoch')} later. The gradient through the student's "
        "steps was exact.",
        *_scope(report),
        *_real(report),
    )


def _selected(report: Report) -> str:
    """Which images experts saw when, with a space before it, where they were chosen by difficulty."""
    chosen = report.making.section("method.selection")
    if not chosen or (chosen["start_share"] == 1 and not chosen["drop_first"] and not chosen["drop_last"]):
        return ""
    told = f" The images of each class were ordered by the errors of {counted(chosen['networks'], 'network')}"
    begun = f"{told}: experts began with the easiest {chosen['start_share']:.0%}"
    return f"{begun}, and were trained without the easiest {chosen['drop_last']:.0%} at the end."


def _scope(report: Report) -> Iterator[str]:
    """What of the walks was matched, where that was not their ends in all parameters."""
    method = report.making.section("method")
    if method.get("new_experts") and method.get("stages", 1) > 1:
        yield (
            "The experts of each later stage began where those before began, learned the images so far for "
            f"{counted(method['former_epochs'], 'epoch')}, and went on with the training split."
        )
    if report.making.section("method.kept").get("threshold"):
        yield "A parameter took part once a student had come close to an expert in it, and from then on."
    if method.get("shape"):
        yield "The angles between start, middle and end of the student's walk were matched with the expert's as well."
    if method.get("closest", "off") != "off":
        yield "The student was matched after the step that brought it closest to the expert."
    if method.get("depth"):
        yield f"The {method['depth']:.0%} of the parameters that lie nearest to the image were left out."


def _alone_from(report: Report) -> int | None:
    """The outer step, from 1, from which on the loss on originals counted alone; None where there was none."""
    real, steps = report.making.section("method.real"), report.making.section("method")["iterations"]
    if not real:
        return None
    if real["weight"] == 1:
        return 1
    first = math.ceil(real["begins"] * steps) + 1
    return first if first <= steps else None


def _real(report: Report) -> Iterator[str]:
    """What the loss on originals did beside trajectories, where it was asked."""
    real = report.making.section("method.real")
    by_usefulness = report.making.section("method.importance").get("direction") == "usefulness"
    counts = bool(real) and (real["weight"] > 0 or real["begins"] < 1)
    if not real or not (counts or by_usefulness):
        return
    kinds = "networks with random parameters"
    if real["pool"]:
        kinds += f" (a pool of {count(real['pool'])}, whose members went on from one outer step to a later one)"
    yield (
        f"A second loss was that of {kinds} after up to {counted(real['student_steps'], 'training step')} "
        f"{MOVED[real['inner']]} on the distilled images: on up to {counted(real['batch_real'], 'original')} of each "
        f"class, its gradient carried back through the last {counted(real['window'], 'step')}."
    )
    if counts:
        yield _share(report)
        moved = "images and labels" if report.making.section("method").get("labels") == "soft" else "images"
        yield f"Each loss's gradient was divided by its own running norm, and the {moved} were moved by Adam."
    if by_usefulness and _alone_from(report) != 1:
        yield "The weights of the parameters in the match were learned so that the second loss fell."


def _share(report: Report) -> str:
    """How much the loss on originals counted, and from when."""
    weight, alone = report.making.section("method.real")["weight"], _alone_from(report)
    if alone == 1:
        return "It counted alone, in every outer step."
    if not weight:
        return "" if alone is None else f"It had no part at first, and counted alone from outer step {count(alone)} on."
    share = f"It had a share of {short(weight)} in the images' gradient"
    return f"{share} throughout." if alone is None else f"{share}, and counted alone from outer step {count(alone)} on."


def _privately(report: Report) -> str:
    """How experts were trained, as a part of a sentence, where they were trained under differential privacy."""
    guarantee = report.distilled.guarantee if report.distilled is not None else None
    if guarantee is None:
        return ""
    return (
        f" by DP-SGD (each {guarantee.unit} in an update with probability {short(guarantee.sample_rate)}, its gradient "
        f"clipped to norm {short(guarantee.clip)}, noise of {short(guarantee.sigma)} times that; epsilon "
        f"{guarantee.epsilon_text} at delta {guarantee.delta:.3g} for all experts together, by the "
        f"{guarantee.accountant} accountant)"
    )
