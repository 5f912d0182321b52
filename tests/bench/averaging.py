"""How well averaging over patients hides who was averaged: the attack by distance on quantised sets of one corpus.

    python -m tests.bench.averaging --data FOLDER --labels CSV --sites raddb --classes COVID,Normal

Each row quantises the training images anew (method ddoq, hard labels) with another number of images per class and
another least number of patients a cell, and asks by distance who is in the set. No network is trained. Markdown.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from medistill.artifacts.atomic import read_json
from medistill.quantisation.record import Quantisation
from medistill.recipe import load_recipe
from medistill.report.estimates import with_interval
from medistill.report.wording import percent
from medistill.workflow.distill import distill
from medistill.workflow.environment import hardware, versions
from medistill.workflow.prepare import prepare
from tests.factories.attacked import distance_attacks

ROWS = ((1, 5), (10, 5), (50, 5), (50, 20), (100, 5), (300, 1))
"""Images per class, and fewest patients a cell."""
HEADINGS = (
    "images per class", "`min_cluster_size`", "images", "set aside", "median cell, patients", "AUC",
    "found, 1 in 100 wrong",
)  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--labels")
    parser.add_argument("--sites", default="")
    parser.add_argument("--classes", default="")
    parser.add_argument("--size", type=int, default=64, help="height and width of the images")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    chosen = [f"data.{name}={getattr(asked, name)}" for name in ("sites", "classes") if getattr(asked, name)]
    common = ["method.labels=hard", f"data.image_size={asked.size}", f"seed={asked.seed}", *chosen]
    recipe = load_recipe("covid-xray-ddoq", common)
    corpus = prepare(asked.data, recipe, labels=asked.labels)
    lines = [f"| {' | '.join(HEADINGS)} |", "|" + "---|" * len(HEADINGS)]
    for ipc, least in ROWS:
        of_row = load_recipe(
            "covid-xray-ddoq", [*common, f"method.ipc={ipc}", f"method.quantise.min_cluster_size={least}"]
        )
        with tempfile.TemporaryDirectory() as folder:
            distilled = distill(corpus, None, of_row, out=folder, device="cpu")
            record = Path(folder) / "quantisation.json"
            known = Quantisation.from_json(read_json(record, "quantisation"), str(record))
        attack, _ = distance_attacks(distilled, corpus, of_row)
        of_all = attack.cells[0]
        patients = [count for of_class in known.classes for count in of_class.cell_patients]
        aside = sum(of_class.set_aside for of_class in known.classes)
        cells = [ipc, least, len(distilled.labels), aside, f"{statistics.median(patients):g}"]
        area = with_interval(of_all.auc)
        found = of_all.detections[0].rate.value
        cells += [area, "–" if found is None else percent(found)]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += ["", f"- {hardware('cpu')}; " + ", ".join(f"{name} {v}" for name, v in versions().items()) + "."]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
