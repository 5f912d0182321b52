"""Encoder here: whether the encoder that a set's network takes its features from is on this machine.

Neither a set nor a bundle carries it, so that whoever receives one has to bring it himself.
"""

from __future__ import annotations

from medistill.artifacts.provenance import Provenance
from medistill.encoders.presence import has_encoder
from medistill.errors import UsageError
from medistill.methods.registry import facts_of
from medistill.networks.registry import NetworkSpec
from medistill.recipe import Recipe
from medistill.report.encoder_statements import NOT_EXPECTED
from medistill.visible import visible


def require_encoder(made: Provenance, recipe: Recipe) -> None:
    """Refuse to train or to ask the probe of a set whose encoder is not here.

    Args:
        made: what the set says of its making.
        recipe: by which its networks are trained or asked.

    Raises:
        UsageError: it is not in the cache; with its hash, its licence and where it can be had.
    """
    encoder = made.encoder
    if encoder is None or recipe.network.encoder != encoder.sha256 or has_encoder(encoder.sha256):
        return
    raise UsageError(
        f"the encoder that this set was made with is not on this machine: {visible(encoder.architecture)}, SHA-256 "
        f"{encoder.sha256}",
        expected=f"its folder, under the licence {visible(encoder.licence)}, which can be had from: "
        f"{visible(encoder.source)}",
        do="bring it with `medistill encoder add FOLDER`, then repeat the command",
    )


def require_teacher(made: Provenance) -> None:
    """Refuse to attack a set, or to make one like it, whose teacher is not here.

    Raises:
        UsageError: it is not in the cache; with its hash, its licence and where it can be had.
    """
    teacher = made.teacher
    if teacher is not None and not has_encoder(teacher.sha256):
        raise UsageError(
            f"the teacher of this set is not on this machine: {visible(teacher.architecture)}, SHA-256 "
            f"{teacher.sha256}",
            expected=f"its folder, under the licence {visible(teacher.licence)}, which can be had from: "
            f"{visible(teacher.source)}",
            do="bring it with `medistill encoder add FOLDER`, then repeat the command",
        )


def other_network(made: Provenance, spec: NetworkSpec) -> str:
    """What is said where a network is trained on a set that was made for another encoder, or for any; else empty."""
    encoder = made.encoder
    if encoder is None or facts_of(made.method or "").centroids:
        return ""
    if spec.encoder is None:
        return f"The images were made for a frozen encoder, {visible(encoder.words)}. {NOT_EXPECTED}"
    if spec.encoder.sha256 != encoder.sha256:
        return (
            f"The images were made for another encoder, {visible(encoder.words)}: on this one a probe learns less from "
            "them."
        )
    return ""
