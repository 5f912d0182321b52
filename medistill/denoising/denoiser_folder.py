"""A denoiser on disk (`NetworkFolder`)."""

from __future__ import annotations

from medistill.artifacts.network_folder import NetworkFolder
from medistill.artifacts.weights_folder import FolderForm
from medistill.denoising.denoiser import Architecture, Denoiser, state_of

NETWORK = "UNet"
FORM = FolderForm(
    noun="denoiser",
    kind="medistill denoiser",
    schema=1,
    texts=("network", "licence", "trained_on"),
    fields=("architecture",),
    do="ask whoever made it for an intact one, or leave --denoiser out: one is trained on the corpus",
)
DESCRIPTION = FORM.description
FOLDER = NetworkFolder(FORM, NETWORK, Architecture.from_json, Denoiser.of_weights, state_of)
save, load, bring = FOLDER.save, FOLDER.load, FOLDER.bring
