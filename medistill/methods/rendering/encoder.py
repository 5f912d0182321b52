"""The encoder that images are rendered for: that of the network of the run."""

from __future__ import annotations

from medistill.encoders.encoder import Encoder
from medistill.errors import RecipeError
from medistill.training.context import Context


def encoder_of(context: Context) -> Encoder:
    """Return the encoder of the network of a run.

    Raises:
        RecipeError: the network is no probe.
    """
    if context.spec.encoder is None:
        raise RecipeError(
            f"method {context.recipe.method.name} with network {context.spec.name}",
            expected="a probe: a linear layer on the features of a frozen encoder, in which the images are made",
            do="add --encoder NAME (see `medistill encoder list`), or choose another --method",
        )
    return context.spec.encoder
