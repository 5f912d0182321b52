"""A medical-imaging privacy toolkit: distil a corpus, measure what the distilled set is worth, share it."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medistill.artifacts.classifier import Classifier as Classifier
    from medistill.artifacts.corpus import Corpus as Corpus
    from medistill.artifacts.distilled_set import DistilledSet as DistilledSet
    from medistill.artifacts.trajectories import Trajectories as Trajectories
    from medistill.data.phantom import write_phantom as write_phantom
    from medistill.denoising.denoisers import bring_denoiser as bring_denoiser
    from medistill.encoders.conversion import add_timm_encoder as add_timm_encoder
    from medistill.encoders.conversion import convert_encoder as convert_encoder
    from medistill.encoders.store import add_encoder as add_encoder
    from medistill.errors import MedistillError as MedistillError
    from medistill.evaluate.evaluation import Evaluation as Evaluation
    from medistill.privacy.audit import Audit as Audit
    from medistill.quantisation.decoders import bring_decoder as bring_decoder
    from medistill.quantisation.record import Quantisation as Quantisation
    from medistill.recipe import Recipe as Recipe
    from medistill.recipe import load_recipe as load_recipe
    from medistill.report.record import Report as Report
    from medistill.sharing.bundle import Bundle as Bundle
    from medistill.studies.audit.audit import audit as audit
    from medistill.workflow.across import evaluate_across as evaluate_across
    from medistill.workflow.distill import distill as distill
    from medistill.workflow.evaluate import evaluate as evaluate
    from medistill.workflow.evaluate_classifier import evaluate_classifier as evaluate_classifier
    from medistill.workflow.experts import train_experts as train_experts
    from medistill.workflow.export import export_dd_ranking as export_dd_ranking
    from medistill.workflow.merge import merge as merge
    from medistill.workflow.prepare import prepare as prepare
    from medistill.workflow.report import write_report as write_report
    from medistill.workflow.run import run as run
    from medistill.workflow.share import share as share
    from medistill.workflow.train_classifier import train_classifier as train_classifier
    from medistill.workflow.verify import verify as verify

os.environ.update(ORT_DISABLE_TELEMETRY="1", DO_NOT_TRACK="1")
"""ONNX Runtime, which reads burnt-in text, tells its maker that it runs, from its import on and everywhere; it looks at
the first of these once, then. MLflow, which MONAI imports where it is installed, looks at the second. So both are said
before anything else is imported, and processes that are started inherit them (decision 30)."""

_HOME = {
    "load_recipe": "medistill.recipe",
    "write_phantom": "medistill.data.phantom",
    "prepare": "medistill.workflow.prepare",
    "train_experts": "medistill.workflow.experts",
    "bring_decoder": "medistill.quantisation.decoders",
    "bring_denoiser": "medistill.denoising.denoisers",
    "add_encoder": "medistill.encoders.store",
    "add_timm_encoder": "medistill.encoders.conversion",
    "convert_encoder": "medistill.encoders.conversion",
    "distill": "medistill.workflow.distill",
    "evaluate": "medistill.workflow.evaluate",
    "evaluate_across": "medistill.workflow.across",
    "audit": "medistill.studies.audit.audit",
    "write_report": "medistill.workflow.report",
    "run": "medistill.workflow.run",
    "share": "medistill.workflow.share",
    "verify": "medistill.workflow.verify",
    "train_classifier": "medistill.workflow.train_classifier",
    "evaluate_classifier": "medistill.workflow.evaluate_classifier",
    "merge": "medistill.workflow.merge",
    "export_dd_ranking": "medistill.workflow.export",
    "Recipe": "medistill.recipe",
    "Corpus": "medistill.artifacts.corpus",
    "Trajectories": "medistill.artifacts.trajectories",
    "DistilledSet": "medistill.artifacts.distilled_set",
    "Evaluation": "medistill.evaluate.evaluation",
    "Audit": "medistill.privacy.audit",
    "Quantisation": "medistill.quantisation.record",
    "Report": "medistill.report.record",
    "Classifier": "medistill.artifacts.classifier",
    "Bundle": "medistill.sharing.bundle",
    "MedistillError": "medistill.errors",
}
"""Where each public name lives. It is fetched when it is first used, so `import medistill` does not import torch."""

__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'medistill' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})


class _Package(ModuleType):
    """The import system binds a room to its name in the package; where a public name is the same, that one stays."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
