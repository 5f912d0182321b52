"""What the labels of a set are, beside the class that each image was made for."""

from __future__ import annotations

from typing import Literal

LabelKind = Literal["probabilities", "values", "targets"]
"""What soft labels are: probabilities to train on by the cross-entropy, values of the classes to train on by the
squared error, or target vectors to pretrain on, of a teacher's width and of no class."""
TENSOR_OF: dict[LabelKind, str] = {"probabilities": "soft_labels", "values": "label_values", "targets": "targets"}
"""What soft labels are -> under which name they are stored."""
