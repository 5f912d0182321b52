"""Glossary: the report's words in one line each."""

from __future__ import annotations

GLOSSARY: tuple[tuple[str, str], ...] = (
    ("Accuracy", "Share of the test images that are put into their class; it depends on how common each class is."),
    ("Arm", "What a group of networks was trained on: distilled images, all originals, or a random part of these."),
    ("AUC", "Chance that an image of the class scores above one of another class; 0.5 is guessing, 1 is perfect."),
    (
        "Distilled image",
        "A synthetic image, computed so that networks learn from it much as they do from many originals.",
    ),
    ("Epoch", "One pass of the training over all images of an arm."),
    ("Importance W", "How much a group of the network's parameters counts while the images are made; 1 is neutral."),
    (
        "Interval",
        "The values that the test patients do not speak against, from drawing whole patients anew many times.",
    ),
    ("Macro AUC", "Mean of the classes' AUCs, each class counting the same."),
    ("Margin", "The loss of macro AUC that the recipe declared acceptable before anything was run."),
    ("Matching loss", "How far a network trained on the distilled images ends from one trained on the originals."),
    ("Non-inferior", "The whole interval of distilled minus all originals lies above the negative margin."),
    ("Original", "An image of the training split: what a distilled image stands in for."),
    ("Outer step", "One change of the distilled images."),
    (
        "Paired difference",
        "Difference of two arms on the same patients; it is known better than either arm's own figure.",
    ),
    ("Sensitivity", "Share of a class's images that are found, at the threshold chosen on the validation split."),
    ("Specificity", "Share of the other images that are rightly left alone, at the same threshold."),
    ("Spread", "Standard deviation over the networks of an arm: how much chance in training alone changes the figure."),
    ("Validation split", "Patients set aside to choose with; the test split is used for the figures and nothing else."),
)
"""Term -> one line, in alphabetical order."""
