"""The claim itself, on real chest X-rays and small: a distilled set beats as many random originals. Takes minutes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medistill.recipe import load_recipe
from medistill.workflow.run import run


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_distilled_beats_random_by_more_than_the_spread(shared_data: Path, tmp_path: Path):
    recipe = load_recipe(
        "covid-xray-cpu",
        [
            "method.experts.count=4",
            "method.iterations=100",
            "evaluate.raw_epochs=10",
            "schedule.choose=fixed",
            "method.validate_networks=2",
        ],
    )
    chest = shared_data / "chest"
    report = run(recipe, out=tmp_path / "run", data=chest, labels=chest / "manifest.csv", device="cpu")
    aucs = {arm.arm: np.array(arm.network_macro_auc) for arm in report.evaluation.arms}
    spread = float(np.hypot(aucs["distilled"].std(ddof=1), aucs["random"].std(ddof=1)))
    assert aucs["distilled"].mean() - aucs["random"].mean() > spread
    assert report.evaluation.beats_random == "yes"
