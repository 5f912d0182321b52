"""An encoder-decoder on disk (`NetworkFolder`)."""

from __future__ import annotations

from medistill.artifacts.network_folder import NetworkFolder
from medistill.artifacts.weights_folder import FolderForm
from medistill.quantisation.autoencoder import Architecture, Autoencoder, state_of

NETWORK = "AutoencoderKL"
FORM = FolderForm(
    noun="decoder",
    kind="medistill autoencoder",
    schema=1,
    texts=("network", "licence", "trained_on"),
    fields=("architecture",),
    do="ask whoever made it for an intact one, or make one (docs/api-tour.md, An encoder-decoder for others)",
)
DESCRIPTION = FORM.description
FOLDER = NetworkFolder(FORM, NETWORK, Architecture.from_json, Autoencoder.of_weights, state_of)
save, load, bring = FOLDER.save, FOLDER.load, FOLDER.bring
