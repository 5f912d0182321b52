"""Methods text: paragraphs for a paper's methods section, from what the run knows."""

from __future__ import annotations

from medistill.methods.registry import citations
from medistill.report import data_statements as data
from medistill.report import evaluation_statements as evaluation
from medistill.report.encoder_statements import networks_statement
from medistill.report.record import Report
from medistill.report.wording import sentences

REFERENCES = {
    "Brier 1950": "Brier GW. Verification of forecasts expressed in terms of probability. Monthly Weather Review "
    "1950;78:1-3.",
    "Clopper and Pearson 1934": "Clopper CJ, Pearson ES. The use of confidence or fiducial limits illustrated in the "
    "case of the binomial. Biometrika 1934;26:404-413.",
    "DeLong et al. (1988)": "DeLong ER, DeLong DM, Clarke-Pearson DL. Comparing the areas under two or more correlated "
    "receiver operating characteristic curves: a nonparametric approach. Biometrics 1988;44:837-845.",
    "Field and Welsh 2007": "Field CA, Welsh AH. Bootstrapping clustered data. Journal of the Royal Statistical "
    "Society B 2007;69:369-390.",
    "Li et al. 2025": "Li Z, et al. DD-Ranking: rethinking the evaluation of dataset distillation. 2025. "
    "arXiv:2505.13300.",
    "Obuchowski 1997": "Obuchowski NA. Nonparametric analysis of clustered ROC curve data. Biometrics 1997;53:567-578.",
    "Vickers and Elkin 2006": "Vickers AJ, Elkin EB. Decision curve analysis: a novel method for evaluating prediction "
    "models. Medical Decision Making 2006;26:565-574.",
    "Xu et al. 2024": "Xu Y, Li Y-L, Cui K, Wang Z, Lu C, Tai Y-W, Tang C-K. Distill gold from massive ores: bi-level "
    "data pruning towards efficient dataset distillation. ECCV 2024. arXiv:2305.18381.",
    "Youden 1950": "Youden WJ. Index for rating diagnostic tests. Cancer 1950;3:32-35.",
    "Zhao and Bilen 2021": "Zhao B, Bilen H. Dataset condensation with differentiable siamese augmentation. ICML 2021. "
    "arXiv:2102.08259.",
}
"""How a statement cites a work -> the work; methods bring their own."""


def methods(report: Report) -> tuple[str, ...]:
    """Paragraphs on data, distillation, evaluation, statistics and software, then the works that they cite.

    What the run does not know is left out; what only the authors know stands as "[to be completed: ...]".
    """
    paragraphs = [
        sentences(
            "Data.",
            data.sources(report),
            data.outcome(report),
            data.criteria(report),
            data.selection(report),
            data.partition(report),
            data.numbers(report),
            data.preparation(report),
            "" if report.synthetic else _left_to_authors(report),
        ),
        sentences("Distillation.", data.distillation(report), data.choice(report)),
        sentences(
            "Evaluation.",
            data.goal(report),
            evaluation.networks(report),
            networks_statement(report),
            evaluation.arms(report),
            evaluation.training(report),
            evaluation.across(report),
            evaluation.held_out_sites(report),
        ),
        sentences(
            "Statistics.",
            evaluation.measures(report),
            evaluation.thresholds(report),
            evaluation.intervals(report),
            evaluation.margin(report),
            evaluation.ranking(report),
            evaluation.subgroups(report),
        ),
        sentences("Software.", evaluation.software(report), evaluation.details(report)),
    ]
    paragraphs = [paragraph for paragraph in paragraphs if not paragraph.endswith(("Distillation.", "Software."))]
    references = {**REFERENCES, **citations()}
    cited = [work for mark, work in sorted(references.items()) if any(mark in paragraph for paragraph in paragraphs)]
    return (*paragraphs, "References.", *cited)


def _left_to_authors(report: Report) -> str:
    if report.benchmark is not None:
        return "[to be completed: version and licence of the benchmark]"
    return (
        "[to be completed: period and place of the examinations; how the classes were determined, and by whom; "
        "approval by an ethics committee]"
    )
