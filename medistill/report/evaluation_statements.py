"""Evaluation statements: what a run knows of its evaluation and of its results, in full sentences.

Methods texts and checklists are made of them. Each gives "" where the run does not know.
"""

from __future__ import annotations

from collections.abc import Sequence

from medistill.artifacts.corpus import Trait
from medistill.evaluate.curves import BAND_REPLICATES
from medistill.evaluate.evaluation import ArmResult
from medistill.evaluate.predictions import TRAITS
from medistill.evaluate.schedule_choice import Candidate
from medistill.recipe.arms import ARMS
from medistill.report.arm_style import arm_in_sentence
from medistill.report.estimates import with_interval
from medistill.report.record import Report
from medistill.report.wording import class_label, classes_listed, count, counted, level, listed, sentences, short
from medistill.training.penalty import Penalty


def networks(report: Report) -> str:
    """Which networks, and how many of them."""
    evaluation = report.evaluation
    if not evaluation.arms:
        return ""
    counts = sorted({len(arm.network_accuracy) for arm in evaluation.arms})
    most = f"{count(counts[0])} to {counts[-1]} networks" if len(counts) > 1 else counted(counts[0], "network")
    made = "fitted" if evaluation.fitted else "trained from random initial values"
    return (
        f"{most} an arm ({evaluation.network}; {counted(evaluation.parameters, 'parameter')}) "
        f"{'was' if counts[-1] == 1 else 'were'} {made}."
    )


def this_run(report: Report) -> str:
    """What this run is called beside published figures: of a quantisation there is one set, and nothing to choose."""
    chosen = report.facts.outer_steps
    return "This run, chosen on validation data" if chosen else "This run"


def arms(report: Report) -> str:
    """What networks were trained on."""
    evaluated = report.evaluation.arms
    parts = [f"{ARMS[arm.arm].description} ({counted(arm.images, 'image')}{_shown(arm)})" for arm in evaluated]
    return f"The arms were trained on: {'; '.join(parts)}." if parts else ""


def _shown(arm: ArmResult) -> str:
    """How often an arm's images were shown to a network; empty of a probe, which is fitted to them."""
    if not arm.epochs:
        return ""
    return f", {counted(arm.epochs, 'epoch')}, {count(arm.images_seen)} images shown to a network"


def _fit(report: Report) -> str:
    """How the probes of the arms were fitted."""
    chosen = report.evaluation.schedules
    fixed = report.making.section("schedule").get("penalty")
    under = [
        f"{way.chosen.penalty:.3g} on {ARMS[way.arm].description}" for way in chosen if isinstance(way.chosen, Penalty)
    ]
    penalty = (
        f" The L2 penalty was {fixed:g}." if fixed is not None and report.evaluation.tested != "all images" else ""
    )
    if under:
        penalty = (
            " The L2 penalty was the one of those tried that did best on patients who were not tested: "
            f"{listed(under)}."
        )
    return (
        "Each network is a multinomial logistic regression on the features of a frozen encoder, fitted in float64 to "
        "the minimum of the weighted mean of the cross-entropy and half of an L2 penalty times the squared weights; "
        f"the bias bears none.{penalty}"
    )


def training(report: Report) -> str:
    """How the networks of the arms were trained."""
    known = report.making.section("evaluate")
    if report.evaluation.fitted:
        return _fit(report)
    if not known:
        return ""
    present = {arm.arm for arm in report.evaluation.arms}
    chosen = report.evaluation.schedules
    rates = [f"{known['raw_lr']:g} on all originals"] if "raw" in present else []
    rates += [f"{known['lr']:g} on chosen originals"] if present & {"random", "kmeans", "leverage"} else []
    if report.distilled is not None:
        learned = ", learned with them" if report.facts.learned_lr else ""
        rates.append(f"{report.distilled.student_lr:.3g} on the distilled images{learned}")
    quantised = report.distilled.quantised if report.distilled is not None else None
    weighed = (
        " The loss of each distilled image was multiplied by its weight."
        if quantised is not None and quantised.weights in ("mass", "sqrt")
        else ""
    )
    lengths = f"batches of up to {counted(known['batch_size'], 'image')}"
    end = "each fell to a tenth after half of the epochs. Networks were used as they were after the last epoch."
    if chosen:
        lengths = "the batch size, learning rate and number of updates that did best on patients who were not tested"
        rates = [
            f"{way.chosen.lr:.3g} on {ARMS[way.arm].description} ({counted(way.chosen.updates, 'update')} of up to "
            f"{counted(way.chosen.batch_size, 'image')})"
            for way in chosen
            if isinstance(way.chosen, Candidate)
        ]
        end = "each was constant, and a network is the mean of its parameters over the last quarter of its training."
    return (
        f"Training was stochastic gradient descent with momentum {known['momentum']:g}, weight decay "
        f"{known['weight_decay']:g} and {lengths}. Learning rates were "
        f"{listed(rates)}; {end}{weighed}"
    )


def initial_values(report: Report) -> str:
    """Where parameters start."""
    if report.evaluation.fitted:
        return "None matter: the fit of a probe is convex, and has one end wherever it starts."
    seed = f" derived from the seed {report.making.seed}" if report.making.seed is not None else ""
    return f"Each network started from its own random values{seed}; none was trained before."


def across(report: Report) -> str:
    """Other networks."""
    if not report.across:
        return ""
    names = [evaluation.network for evaluation in report.across]
    return f"The same arms were trained with other networks: {'; '.join(names)}."


def held_out_sites(report: Report) -> str:
    """Sets that were distilled without a site."""
    if not report.sites:
        return ""
    named = listed([class_label(site.site) for site in report.sites])
    tested = sum(site.evaluation is not None for site in report.sites)
    experts = "experts, " if report.facts.experts else ""
    return (
        f"In turn each site ({named}) was left out: {experts}distilled images and networks were made from the other "
        "sites alone and tested on all images of that site. This could be done for "
        f"{count(tested)} of {counted(len(report.sites), 'site')}."
    )


def external(report: Report) -> str:
    """Tests on data from elsewhere."""
    alone = "Nothing but this corpus was tested on." if report.corpus is not None else ""
    return sentences(held_out_sites(report), alone)


def measures(report: Report) -> str:
    """What was measured."""
    curves = " and the expected calibration error"
    if report.evaluation.calibration and report.evaluation.decision:
        curves = ", the expected calibration error, calibration curves and net benefit (Vickers and Elkin 2006)"
    return (
        "Each class was set against the rest. Measured were the area under the ROC curve (AUC) of each class and their "
        "mean (macro AUC), accuracy, balanced accuracy, sensitivity, specificity, predictive values at the prevalence "
        f"of the test split, F1, the Brier score (Brier 1950){curves}. Figures of an arm are means over its networks."
    )


def ranking(report: Report) -> str:
    """The measures of DD-Ranking."""
    if report.evaluation.arm("distilled") is None:
        return ""
    return (
        "Hard-label recovery (accuracy on all originals minus accuracy on the distilled images with hard labels) and "
        "improvement over random (accuracy on the distilled images minus accuracy on random originals) are those of "
        "DD-Ranking (Li et al. 2025)."
    )


def thresholds(report: Report) -> str:
    """How thresholds were chosen."""
    if not report.evaluation.validation_images:
        return (
            "No threshold was chosen, since every image was tested: the sensitivity of a class is the share of its "
            "images whose most probable class it is."
        )
    points = [point for arm in report.evaluation.arms for result in arm.classes for point in result.points]
    wanted = next((point.target for point in points if point.target is not None), None)
    second = f" The second is the lowest that reaches a specificity of {wanted:g} there." if wanted is not None else ""
    return (
        "Two thresholds of the probability of each class were chosen for each network on the validation split and used "
        "on the test split as they were. The first has the largest sum of sensitivity and specificity (Youden 1950)."
        f"{second}"
    )


def intervals(report: Report) -> str:
    """Where intervals come from."""
    evaluation, unit = report.evaluation, report.split_unit
    drawn = {
        "patient": "the test patients, each with all images (cluster bootstrap; Field and Welsh 2007)",
        "study": "the test studies, each with all images, as no patient is known (cluster bootstrap; Field and Welsh "
        "2007)",
        "image": "the test images",
        "": "the test patients or, where none is known, images (cluster bootstrap; Field and Welsh 2007)",
    }[unit]
    first = count(min(BAND_REPLICATES, evaluation.replicates))
    bands = f" Bands of curves are pointwise, from the first {first} resamples." if evaluation.roc else ""
    return (
        f"{level(evaluation.confidence)}s are percentiles over {count(evaluation.replicates)} resamples, with "
        f"replacement, of {drawn}; a share of exactly 0 or 1 has the exact binomial limit (Clopper and Pearson 1934). "
        f"Every arm saw the same resamples, so that differences are paired.{bands} The calibration error has no "
        "interval. For AUCs, intervals by the method of DeLong et al. (1988), for clustered data (Obuchowski 1997) and "
        "on the logit scale, stand beside them. How much chance in training changes a figure is given separately, as "
        "the standard deviation over the networks of an arm."
    )


def margin(report: Report) -> str:
    """When non-inferiority is shown."""
    if report.evaluation.difference("raw") is None:
        return ""
    return (
        "Non-inferiority was called shown where the whole interval of the difference in macro AUC, distilled minus "
        f"all originals, lies above {short(-report.evaluation.margin)}."
    )


def subgroups(report: Report) -> str:
    """By what subgroups were formed."""
    return _by(report, TRAITS)


def fairness(report: Report) -> str:
    """Whether figures were worked out by sex or age."""
    return _by(report, ("sex", "age"))


def heterogeneity(report: Report) -> str:
    """Whether figures were worked out by site."""
    return sentences(_by(report, ("site",)), held_out_sites(report))


def _by(report: Report, wanted: Sequence[Trait]) -> str:
    traits = [trait for trait in wanted if any(group.trait == trait for group in report.evaluation.subgroups)]
    if not traits:
        return ""
    smallest = report.making.section("evaluate").get("smallest_cell")
    unit = report.split_unit or "patient"
    hidden = f"; those of fewer than {counted(smallest, unit)} are not shown" if smallest is not None else ""
    return f"Figures were also worked out by {listed(traits)}{hidden}."


def robustness(report: Report) -> str:
    """What else the result was tried with."""
    most = max((len(arm.network_accuracy) for arm in report.evaluation.arms), default=0)
    seeds = f"{count(most)} networks an arm show how much chance in training matters." if most > 1 else ""
    return sentences(seeds, across(report), held_out_sites(report))


def results(report: Report) -> str:
    """The macro AUC of each arm and the difference."""
    parts = [
        f"{arm_in_sentence(arm.arm)} {with_interval(arm.macro_auc)}"
        for arm in report.evaluation.arms
        if arm.macro_auc.value is not None
    ]
    against = report.evaluation.difference("raw")
    gain = against.macro_auc if against is not None else None
    said = f"Macro AUC with its {level(report.evaluation.confidence)}: {'; '.join(parts)}." if parts else ""
    if gain is not None and gain.value is not None:
        said = sentences(said, f"Distilled minus all originals: {with_interval(gain, 'difference')}.")
    return said


def by_class(report: Report) -> str:
    """Where the figures of each class stand."""
    classes = classes_listed(report.evaluation.class_names)
    return f"The report gives AUC, sensitivity, specificity and predictive values with intervals for {classes}."


def variation(report: Report) -> str:
    """Where figures by site stand."""
    sites = sum(group.trait == "site" and bool(group.arms) for group in report.evaluation.subgroups)
    tested = sum(site.evaluation is not None for site in report.sites)
    parts = [f"figures of {counted(sites, 'site')}"] if sites else []
    parts += [f"figures of {counted(tested, 'site')} by sets made without it"] if tested else []
    return f"In the report: {listed(parts)}." if parts else ""


def failures(report: Report) -> str:
    """What is known of wrong answers."""
    return "Confusion matrices of each arm are in the report; the software looks at no single image."


def limitations(report: Report) -> str:
    """What the report does not promise."""
    return f"The report names: {'; '.join(caveat.title for caveat in report.not_promised)}."


def specification(report: Report) -> str:
    """What the model consists of."""
    network = f"{report.evaluation.network}, {counted(report.evaluation.parameters, 'parameter')}."
    images = report.making.hashes.get("set/images.safetensors")
    made_of = f"Networks are trained from the distilled images (SHA-256 {images})." if images else ""
    return sentences(network, made_of, "The weights of the networks are not kept.")


def software(report: Report) -> str:
    """Packages, device, seed."""
    making = report.making
    if not making.versions:
        return ""
    names = [f"{name} {version}" for name, version in making.versions.items()]
    device = f" The computation ran on {making.hardware}." if making.hardware else ""
    seed = f" All random numbers derive from the seed {making.seed}." if making.seed is not None else ""
    return f"The software was {listed(names)}.{device}{seed}"


def details(report: Report) -> str:
    """Where every setting stands."""
    recipe = report.making.hashes.get("recipe")
    return f"Every setting is in report.json and in the recipe (SHA-256 {recipe})." if recipe else ""


def code(report: Report) -> str:
    """What may be had to make the run again."""
    version = report.making.versions.get("medistill")
    again = f" To make the run again: {report.making.commands[0]}" if report.making.commands else ""
    return f"The software is medistill {version}, under the Apache licence 2.0.{again}" if version else ""


def updating(report: Report) -> str:
    """Changes to a model after it was trained."""
    return "No network was updated or recalibrated."


def ensembling(report: Report) -> str:
    """Whether networks answered together."""
    return "None: figures are means over networks that each answer alone."


def explanation(report: Report) -> str:
    """Methods of explanation."""
    return "None was used."


def prediction(report: Report) -> str:
    """How a prediction comes about."""
    return "A network's softmax gives the probability of each class; the most probable class counts for accuracy."
