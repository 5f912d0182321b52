"""Exchange: the record of a study in which sites exchange distilled sets, and what must be said beside its figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from medistill.evaluate.hospital_curve import HospitalCurve
from medistill.evaluate.site_matrix import OF_ONE_SITE, ExchangeSource, MatrixRow, SiteMatrix
from medistill.evaluate.variant_figures import AtPlaces, VariantRow
from medistill.recipe.arms import ArmName
from medistill.report.exchange_invented import InventedHospital
from medistill.report.exchange_learning import learning_statements
from medistill.report.exchange_received import SentSet, received_sentences
from medistill.report.studied_site import StudiedSite
from medistill.report.wording import class_label, counted, listed, plural_of

EXCHANGE_SCHEMA = 2
SOURCE_NAMES: dict[ExchangeSource, str] = {
    "own_raw": "Own originals",
    "own_and_others": "Own originals and the sets of the others",
    "own_set": "Own distilled set",
    "others_sets": "Sets of the other sites",
    "all_sets": "Sets of all sites",
    "random": "Random originals of all sites",
    "pooled_raw": "All originals pooled",
    "own_and_unseen": "Own originals and the sets of the others but one",
}
SOURCE_MEANING: dict[ExchangeSource, str] = {
    "own_raw": "what a site has without any exchange",
    "own_and_others": "what a hospital would use: all that it has, and all that it gets",
    "own_set": "what a site would send, and nothing else",
    "others_sets": "what a site gets that sends nothing",
    "all_sets": "the exchange",
    "random": "as many real images of each class and site as the sets hold; sending them is forbidden",
    "pooled_raw": "forbidden: the upper bound, for which every site would have to send its patients' images",
    "own_and_unseen": "tested at the site that is left out: what others gain where nobody sent from",
}
SOURCE_LOOKS: dict[ExchangeSource, tuple[ArmName, bool]] = {
    "own_raw": ("kmeans", True),
    "own_and_others": ("kmeans", False),
    "own_set": ("distilled", False),
    "others_sets": ("hard", True),
    "all_sets": ("distilled", True),
    "random": ("random", True),
    "pooled_raw": ("raw", True),
    "own_and_unseen": ("hard", False),
}
"""Source -> the arm whose colour and point it has in figures, and whether the point is full."""


@dataclass(frozen=True)
class SmallHospital:
    """A site with few of its patients, alone and beside the sets of the others.

    Attributes:
        site: the hospital.
        draws: of its patients.
        curves: at the hospital, then over all sites.
        notes: numbers of patients that were left out, and why.
        guard: of these few patients, "home" or "off".
    """

    site: str
    draws: int
    curves: tuple[HospitalCurve, ...]
    notes: tuple[str, ...]
    guard: str = "off"


@dataclass(frozen=True)
class StudiedVariant:
    """One way of making the sets, and what they are worth beside own originals.

    Attributes:
        name: of the way.
        settings: in which its recipe differs from the study's, as ``section.key=value``.
        method: by which its sets were made.
        recipe_digest: SHA-256 of its settings.
        sites: one entry a site; how many originals it has is told of the study's own way alone.
        rows: likewise one a site.
        reason: why nothing could be exchanged in this way; else empty.
    """

    name: str
    settings: tuple[str, ...]
    method: str
    recipe_digest: str
    sites: tuple[StudiedSite, ...]
    rows: tuple[VariantRow, ...]
    reason: str = ""

    @property
    def epsilon(self) -> float | None:
        """The largest that any of its sets promises; None where one promises nothing, or there is none."""
        found = [site.epsilon for site in self.sites if not site.reason]
        known = [epsilon for epsilon in found if epsilon is not None]
        return max(known) if known and len(known) == len(found) else None


@dataclass(frozen=True)
class ComparedVariants:
    """Ways of making the sets, side by side.

    Attributes:
        alone: what own originals are worth alone, one a site.
        variants: the ways, that of the study's own recipe first.
    """

    alone: tuple[AtPlaces, ...]
    variants: tuple[StudiedVariant, ...]


@dataclass(frozen=True)
class ExchangeStudy:
    """What sites gain by exchanging distilled sets.

    Attributes:
        class_names: one a class.
        sites: one entry a site.
        matrix: the figures.
        network: the network, in words.
        networks: trained on every source.
        ipc: images of each class in a site's set.
        starts_from: "real", "noise" or "quantised" (means of several patients' images), what the distilled images are
            or began as.
        split_unit: "patient", "study" or "image", as of the corpus.
        synthetic: the images say that they are of invented patients.
        confidence: level of every interval.
        replicates: resamples of the test patients.
        seed: of every random number.
        recipe: its name.
        recipe_digest: SHA-256 of its settings.
        corpus: SHA-256 of the corpus.
        versions: package -> version.
        audited: what of an audit was run on the sets, "copies", "full" or "off".
        weights: that an image that was sent could have beside own originals.
        guard: of own patients, "home" or "off".
        method: by which the sets were made.
        hospital: a site with few of its patients; None where none was asked for.
        received: sets that other hospitals really sent, those that were left out too.
        invented: the sites, where these are no hospitals but parts of one with other grey curves.
        variants: other ways of making the sets; None where none was asked for.
    """

    class_names: tuple[str, ...]
    sites: tuple[StudiedSite, ...]
    matrix: SiteMatrix
    network: str
    networks: int
    ipc: int
    starts_from: str
    split_unit: str
    synthetic: bool
    confidence: float
    replicates: int
    seed: int
    recipe: str
    recipe_digest: str
    corpus: str
    versions: Mapping[str, str]
    audited: str = "off"
    weights: tuple[float, ...] = (1.0,)
    guard: str = "off"
    method: str = ""
    hospital: SmallHospital | None = None
    received: tuple[SentSet, ...] = ()
    invented: tuple[InventedHospital, ...] = ()
    variants: ComparedVariants | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain values, null for what is not available."""
        return {"schema": EXCHANGE_SCHEMA, "kind": "medistill exchange study", **asdict(self)}

    def rows(self, source: ExchangeSource) -> tuple[MatrixRow, ...]:
        """The rows of one source."""
        return tuple(row for row in self.matrix.rows if row.source == source)

    def row(self, source: ExchangeSource, site: str) -> MatrixRow:
        """The row of a source: of the site, where it has one of each."""
        return next(row for row in self.rows(source) if source not in OF_ONE_SITE or row.site == site)


def row_name(row: MatrixRow) -> str:
    """What a row is called where it stands by itself: "Own originals, north"."""
    return f"{SOURCE_NAMES[row.source]}{f', {row_site(row, row.site)}' if row.site else ''}"


def row_site(row: MatrixRow, name: str, without: str = "") -> str:
    """Whose a row is, as its site is written, "without north" of the others' sets, and "south, without north"."""
    left_out = "without " if row.source == "others_sets" else ""
    return f"{left_out}{name}{f', without {without or row.without}' if row.without else ''}"


def statements(study: ExchangeStudy) -> tuple[str, ...]:
    """What must be read beside the figures, a sentence or two each."""
    found = []
    single = [site for site in study.matrix.sites if site.only_class]
    if single:
        where = listed([f"{site.name} (every test image {class_label(site.only_class)})" for site in single])
        found.append(
            f"Class and site are confounded at {where}. No area under the ROC curve exists there; what is told is the "
            "share that is put in that class, and a network that always answers so has 100 %. Over all sites together, "
            "a network can tell such classes apart by the look of a hospital's images, so a high pooled figure does "
            "not show that it knows the disease."
        )
    made_of_one = [site.name for site in study.sites if len(site.classes) == 1 and not site.reason]
    if made_of_one:
        began = {
            "real": " They start from real images, and experts who see one class have little to change in them: look "
            "at such a set, and audit it, before it goes out.",
            "quantised": " Their images are means of several patients' images, or began as such: look at such a set, "
            "and audit it, before it goes out.",
            "patches": " Their images are parts of patients' images, unchanged, and do not go out.",
        }.get(study.starts_from, "")
        found.append(
            f"The {'sets' if len(made_of_one) > 1 else 'set'} of {listed(made_of_one)} "
            f"{'hold' if len(made_of_one) > 1 else 'holds'} one class each. Nothing can be trained there on originals "
            "or on the own set alone, since nothing tells classes apart; its originals beside the sets of the others "
            f"can teach.{began}"
        )
    if any(site.recovered for site in study.sites):
        counts = [f"{site.recovered} of {site.set_images} of {site.name}" for site in study.sites if site.recovered]
        found.append(
            f"Distilled images that give away the real image that they began as, since no other training image of "
            f"their class is as like them: {listed(counts)}. Sending such an image comes close to sending the original."
        )
    found += [f"{site.name} has no set, because {site.reason}." for site in study.sites if site.reason]
    found += [f"{site.name}: {site.note}" for site in study.sites if site.note]
    hidden = [site for site in study.matrix.sites if site.reason]
    found += [f"Figures at {site.name} are not shown: {site.reason}." for site in hidden]
    found += received_sentences(study.received)
    if any(not row.reason for row in study.rows("pooled_raw")):
        found.append(
            "“All originals pooled” is the upper bound that privacy forbids: nothing but this study, in which all "
            "images lie on one machine, may train on it. The random originals are forbidden likewise."
        )
    found.append(
        f"Each site distilled once, and each figure is the mean over {counted(study.networks, 'network')}. Intervals "
        "are of the test patients; another distillation, or other networks, could move a figure further."
    )
    if study.split_unit != "patient":
        found.append(
            f"Not every patient is known: {plural_of(study.split_unit)} count as patients, and intervals can be too "
            "narrow."
        )
    found += learning_statements(study.matrix.rows, study.weights, study.guard)
    found += _on_privacy(study)
    found.append("The figures are research results, not clinical evidence.")
    return tuple(found)


def _on_privacy(study: ExchangeStudy) -> list[str]:
    """What was audited, what is promised, and that a study is no exchange."""
    what = {
        "copies": "The sets were searched for copies of training images and asked by distance who was in them, which "
        "is a part of an audit: without attacks by trained networks no set passes the gate. The whole of “medistill "
        "audit” comes before any of them leaves its site.",
        "full": "The sets were audited; see what the gate says of each.",
        "off": "The sets of this study were not audited. “medistill audit” comes before any of them leaves its site.",
    }
    found = [what[study.audited]]
    promised = [site for site in study.sites if site.guarantee]
    if promised:
        found.append(
            f"Differential privacy: {promised[0].guarantee} It holds for the patients of each site by themselves: "
            "where no patient was at two sites, one who took part spends the budget of one set, however many sites "
            "send. It holds for the sets. The rest of this study, and what a site chooses by its own patients, is "
            "outside it."
        )
    else:
        found.append("Distillation alone promises nothing formal for privacy.")
    return found
