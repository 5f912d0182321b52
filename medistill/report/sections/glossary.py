"""Glossary: the report's words in one line each."""

from __future__ import annotations

from medistill.report.blocks import Facts
from medistill.report.section import Section
from medistill.report.view import ReportView

GLOSSARY: tuple[tuple[str, str], ...] = (
    ("Accuracy", "Share of the test images that are put into their class; it depends on how common each class is."),
    ("Arm", "What a group of networks was trained on: distilled images, all originals, or a few of these."),
    ("AUC", "Chance that an image of the class scores above one of another class; 0.5 is guessing, 1 is perfect."),
    ("Audit", "Attacks on a distilled set that are made to see what it gives away, before it is passed on."),
    (
        "Balanced accuracy",
        "Mean of the shares of each class that are found; of one class: mean of sensitivity and specificity.",
    ),
    (
        "Brier score",
        "Squared distance of the probabilities from what was true; 0 is perfect. Summed over the classes for an arm.",
    ),
    ("Calibration error", "How far probabilities are from how often they come true, on average; 0 is perfect."),
    ("Canary", "An image that was given a wrong label on purpose; only memory can make a network repeat that label."),
    ("Cell", "The training images that lie nearer to one centroid than to any other centroid of their class."),
    ("Centroid", "The middle of a cell: the mean of the codes of its images. Decoded, it is a distilled image."),
    (
        "Chosen originals",
        "As many originals as there are distilled images, those nearest to the centres that k-means finds.",
    ),
    ("Copy", "A distilled image that lies much nearer to a training image than to any held-out one."),
    (
        "DeLong’s interval",
        "An interval of the AUC from a formula, for several images a patient, beside the one from drawing patients.",
    ),
    (
        "Distilled image",
        "A synthetic image, computed so that networks learn from it much as they do from many originals.",
    ),
    ("Encoder", "What turns an image into a short row of numbers, its code; a decoder turns a code into an image."),
    ("Epoch", "One pass of the training over all images of an arm."),
    ("Epsilon, delta", "Bound on what one patient changes in the distilled images; the smaller, the more private."),
    ("F1", "Harmonic mean of sensitivity and PPV."),
    ("Hard label", "A label that is a class alone."),
    ("Held out", "Left out of everything that was trained or distilled, then used to test."),
    ("Importance W", "How much a group of the network's parameters counts while the images are made; 1 is neutral."),
    (
        "Interval",
        "The values that the test patients do not speak against, from drawing whole patients anew many times.",
    ),
    ("k-means", "A method that groups images by their pixels; the centre of a group is the mean of its images."),
    ("Loss of the outer steps", "What every change of the images is to make smaller; its figure says what that is."),
    ("Macro AUC", "Mean of the classes' AUCs, each class counting the same."),
    ("Margin", "The loss of macro AUC that is taken as acceptable; the recipe declares it before anything is run."),
    ("Membership inference", "Guessing from a network whether somebody’s image was in the training split."),
    ("Net benefit", "Cases found less false alarms, these weighed by how probable a case must be before one acts."),
    ("Non-inferior", "The whole interval of distilled minus all originals lies above the negative margin."),
    ("NPV", "Share of the images left alone that are rightly so, at the prevalence of the test split."),
    (
        "One run",
        "The set made once more, where coins decided which patients are in; guessing them bounds epsilon from below.",
    ),
    ("Original", "An image of the training split: what a distilled image stands in for."),
    ("Outer step", "One change of the distilled images."),
    (
        "Paired difference",
        "Difference of two arms on the same patients; it is known better than either arm's own figure.",
    ),
    ("Positive control", "What an attack must find something in, so that finding nothing elsewhere means something."),
    ("PPV", "Share of the called images that are of the class, at the prevalence of the test split."),
    ("Prevalence", "Share of a class in the test split; in a hospital it is another one, and PPV and NPV with it."),
    ("ROC curve", "Sensitivity against false alarms over all thresholds."),
    ("Sensitivity", "Share of a class's images that are found, at the threshold chosen on the validation split."),
    ("Shadow", "A set made of a random half of the patients, to try attacks where the truth is known."),
    ("Soft label", "A label that gives every class a share: learned with the images, or the answer of a teacher."),
    ("Specificity", "Share of the other images that are rightly left alone, at the same threshold."),
    ("Spread", "Standard deviation over the networks of an arm: how much chance in training alone changes the figure."),
    ("Subgroup", "The test images that share a site, a view, a sex or an age; too few patients are not shown."),
    ("Target vector", "Numbers that a network is pretrained to answer for an image; of no class."),
    ("Teacher", "A network whose answers become labels; of a frozen encoder, target vectors."),
    ("Temperature", "What a teacher's outputs are divided by first; the higher, the more even the soft labels."),
    ("Threshold", "The probability from which an image is called; chosen on the validation split."),
    ("Validation split", "Patients set aside to choose with; the test split is used for the figures and nothing else."),
    ("W2", "Wasserstein distance: what moving all images of a class onto its centroids takes, root mean square."),
)
"""Term -> one line, in alphabetical order."""


def section(view: ReportView) -> Section:
    """Every term."""
    return Section("glossary", "Glossary", (Facts(GLOSSARY),), contents="Glossary", behind_notes=True)
