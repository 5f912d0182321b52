"""Methods text: paragraphs for a paper's methods section, from what the run knows."""

from __future__ import annotations

from medistill.report import data_statements as data
from medistill.report import evaluation_statements as evaluation
from medistill.report.record import Report
from medistill.report.wording import sentences

REFERENCES = {
    "Brier 1950": "Brier GW. Verification of forecasts expressed in terms of probability. Monthly Weather Review "
    "1950;78:1-3.",
    "Cazenavette et al. 2022": "Cazenavette G, Wang T, Torralba A, Efros AA, Zhu JY. Dataset distillation by matching "
    "training trajectories. CVPR 2022. arXiv:2203.11932.",
    "Chen et al. 2024": "Chen X, Yang Y, Wang Z, Mirzasoleiman B. Data distillation can be like vodka: distilling more "
    "times for better quality. ICLR 2024. arXiv:2310.06982.",
    "Clopper and Pearson 1934": "Clopper CJ, Pearson ES. The use of confidence or fiducial limits illustrated in the "
    "case of the binomial. Biometrika 1934;26:404-413.",
    "DeLong et al. (1988)": "DeLong ER, DeLong DM, Clarke-Pearson DL. Comparing the areas under two or more correlated "
    "receiver operating characteristic curves: a nonparametric approach. Biometrics 1988;44:837-845.",
    "Du et al. 2023": "Du J, Jiang Y, Tan VYF, Zhou JT, Li H. Minimizing the accumulated trajectory error to improve "
    "dataset distillation. CVPR 2023. arXiv:2211.11004.",
    "Field and Welsh 2007": "Field CA, Welsh AH. Bootstrapping clustered data. Journal of the Royal Statistical "
    "Society B 2007;69:369-390.",
    "Gao et al. 2025": "Gao B, et al. Enhancing generalization via sharpness-aware trajectory matching for dataset "
    "condensation. 2025. arXiv:2502.01865.",
    "Guo et al. 2024": "Guo Z, et al. Towards lossless dataset distillation via difficulty-aligned trajectory "
    "matching. ICLR 2024. arXiv:2310.05773.",
    "Li et al. 2022": "Li G, Togo R, Ogawa T, Haseyama M. Dataset distillation using parameter pruning. 2022. "
    "arXiv:2209.14609.",
    "Li et al. 2024": "Li G, Togo R, Ogawa T, Haseyama M. Importance-aware adaptive dataset distillation. Neural "
    "Networks 2024;172. arXiv:2401.15863.",
    "Li et al. 2025": "Li Z, et al. DD-Ranking: rethinking the evaluation of dataset distillation. 2025. "
    "arXiv:2505.13300.",
    "Obuchowski 1997": "Obuchowski NA. Nonparametric analysis of clustered ROC curve data. Biometrics 1997;53:567-578.",
    "Su et al. 2024": "Su D, Hou J, Gao W, Tian Y, Tang B. D4M: dataset distillation via disentangled diffusion model. "
    "CVPR 2024. arXiv:2407.15138.",
    "Tan and Slade 2026": "Tan HY, Slade E. Dataset distillation as pushforward optimal quantization. ICLR 2026. "
    "arXiv:2501.07681.",
    "Vickers and Elkin 2006": "Vickers AJ, Elkin EB. Decision curve analysis: a novel method for evaluating prediction "
    "models. Medical Decision Making 2006;26:565-574.",
    "Youden 1950": "Youden WJ. Index for rating diagnostic tests. Cancer 1950;3:32-35.",
    "Zhao and Bilen 2021": "Zhao B, Bilen H. Dataset condensation with differentiable siamese augmentation. ICML 2021. "
    "arXiv:2102.08259.",
}
"""How a statement cites a work -> the work."""


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
    told = [paragraph for paragraph in paragraphs if not paragraph.endswith(("Distillation.", "Software."))]
    cited = [work for mark, work in REFERENCES.items() if any(mark in paragraph for paragraph in told)]
    return (*told, "References.", *cited)


def _left_to_authors(report: Report) -> str:
    if report.benchmark is not None:
        return "[to be completed: version and licence of the benchmark]"
    return (
        "[to be completed: period and place of the examinations; how the classes were determined, and by whom; "
        "approval by an ethics committee]"
    )
