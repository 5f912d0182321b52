"""Penalty trials: under which L2 penalty an arm's probes are fitted."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from medistill.errors import DivergedError
from medistill.evaluate.arms import Arms
from medistill.evaluate.metrics import macro_auc
from medistill.evaluate.network_keys import ArmStore
from medistill.evaluate.schedule_choice import Trial, search_penalties
from medistill.progress import Task
from medistill.recipe.arms import ArmName
from medistill.training.context import Context
from medistill.training.encoded import seen_by
from medistill.training.images import LabelledImages
from medistill.training.penalty import Penalty
from medistill.training.probe import Probe, ProbeLayer, pieces
from medistill.workflow.trials import Trials


@dataclass
class _Path:
    """The fits of one probe, from the largest penalty to the smallest: each begins where the one before it ended."""

    probe: Probe
    shown: LabelledImages
    layer: ProbeLayer | None = None
    scores: dict[float, float | DivergedError] = field(default_factory=dict)

    def go_on(self, penalty: float) -> None:
        """Fit under the next penalty, and score what the network of it would answer, in float32: where a penalty is so
        large that all images get the same answer, the score says so."""
        try:
            self.layer = self.probe.fit(penalty, self.layer)
        except DivergedError as error:
            self.scores[penalty] = error
            return
        bias, weight, shown = self.layer.bias.float(), self.layer.weight.float().T, self.shown
        logits = [torch.addmm(bias, shown.batch(some), weight) for some in pieces(len(shown), len(weight))]
        found = torch.softmax(torch.cat(logits), dim=1).cpu().numpy()
        self.scores[penalty] = macro_auc(found, self.shown.labels.cpu().numpy()) or 0.0


class PenaltyTrials(Trials[Penalty]):
    """The trials of an arm whose networks are probes; a search that was interrupted goes the same way again."""

    def __init__(self, arm: ArmName, arms: Arms, store: ArmStore, context: Context, task: Task) -> None:
        super().__init__(arm, arms, store, context, task)
        self._paths: dict[int, _Path] = {}

    @staticmethod
    def most(arms: Arms, arm: ArmName) -> int:
        """Return the fits of a search, or more."""
        settings = arms.recipe.schedule
        return settings.networks * len(set(settings.penalties))

    def search(self) -> tuple[Penalty, tuple[Trial, ...], bool]:
        """Return what was chosen and all that was tried; a fit goes to its end, so that no score rises beyond it.

        Raises:
            DivergedError: no fit came to its end.
        """
        penalties = self.context.recipe.schedule.penalties
        chosen, trials = search_penalties(self.attempt, penalties)
        if not any(trial.scores for trial in trials):
            raise DivergedError(
                f"no probe of arm {self.arm} could be fitted: {trials[0].reason}",
                expected=f"an L2 penalty among {', '.join(f'{one:g}' for one in penalties)} that suits the features",
                do="give larger ones with --set schedule.penalties=1,10,100",
            )
        return chosen, trials, False

    def score(self, candidate: Penalty, number: int) -> float:
        """Return the macro AUC of a probe under a penalty."""
        path = self._path(number)
        for penalty in sorted(set(self.context.recipe.schedule.penalties), reverse=True):
            if penalty >= candidate.penalty and penalty not in path.scores:
                path.go_on(penalty)
                if penalty == candidate.penalty:
                    self.counted += 1
                    self.task.advance(figures=f"{candidate.words}, network {number + 1} of {self.networks}")
        found = path.scores[candidate.penalty]
        if isinstance(found, DivergedError):
            raise found
        return found

    def length(self, candidate: Penalty) -> int:
        """Return the fits of a probe under one penalty."""
        return 1

    def _path(self, number: int) -> _Path:
        if number not in self._paths:
            spec, device = self.context.spec, self.context.device
            data, shown = (seen_by(spec.encoder, images, device) for images in self.posed(number))
            self._paths[number] = _Path(Probe.of(data, spec.classes), shown)
        return self._paths[number]
