"""Membership inference: how well one who holds the set can tell the patients it was made of from others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from pydantic import TypeAdapter, ValidationError

from medistill.errors import ArtifactError, first_complaint
from medistill.evaluate.delong import Components
from medistill.evaluate.intervals import Estimate
from medistill.privacy.canaries import CanaryTest
from medistill.privacy.exact import chance_of_as_many, exact_proportion
from medistill.privacy.likelihood_ratio import Way, likelihood_ratio
from medistill.privacy.trials import Trials

ONE_IN = (100, 1000)
"""False positive rates that the attacks are allowed: one non-member in so many."""
REDRAWS = 199
"""Random pairings that the likelihood ratio attack is held against; the smallest chance it can show is then 1 / 200."""
Source = Literal["distilled", "random", "raw"]
"""What the attacked networks learn from: the set; as many real training images, drawn at random; all of them."""
SOURCES: tuple[Source, ...] = get_args(Source)
AttackName = Literal["loss", "distance", "likelihood ratio, in and out", "likelihood ratio, out only"]
RATIO_ATTACKS: dict[Way, AttackName] = {
    "in and out": "likelihood ratio, in and out",
    "out only": "likelihood ratio, out only",
}
CellTrait = Literal["all", "class", "site"]


@dataclass(frozen=True)
class Detection:
    """What an attack finds where it may be wrong about one non-member in ``one_in``.

    Attributes:
        one_in: the inverse of the false positive rate.
        rate: share of the members above the threshold, with the exact binomial interval for these members.
        chance: probability that scores which know nothing find as many, the threshold's own chance included; None where
            it is not worked out.
    """

    one_in: int
    rate: Estimate
    chance: float | None


@dataclass(frozen=True)
class AttackCell:
    """An attack on all patients, or on those of one class or site.

    Attributes:
        trait: what the cell is formed by.
        name: the class or the site; "" for all.
        members: patients whose images were in the training data; None where the cell is not shown.
        non_members: patients whose images were not; likewise.
        auc: area under the attack's ROC curve, with DeLong's interval for clustered data.
        detections: one for each of `ONE_IN`; empty where the cell is not shown.
        reason: why it is not shown; else empty.
    """

    trait: CellTrait
    name: str
    members: int | None
    non_members: int | None
    auc: Estimate
    detections: tuple[Detection, ...]
    reason: str = ""


@dataclass(frozen=True)
class MembershipAttack:
    """One attack on the networks of one source.

    Attributes:
        name: which attack.
        source: what the attacked networks learnt from.
        cells: all patients first, then by class, then by site.
        dropped: share of the answers that take no part, since too few other shadows tell of the image.
        reason: why the attack could not be made, as the end of "cannot be made, because ..."; else empty.
    """

    name: AttackName
    source: Source
    cells: tuple[AttackCell, ...]
    dropped: float = 0.0
    reason: str = ""


@dataclass(frozen=True)
class Membership:
    """What the attacks on membership found, and what they were made with.

    Attributes:
        attacks: every attack on every source.
        canaries: one test a source.
        networks: attacked networks of each source in the loss attack.
        shadows: shadow distillations.
        shadow_networks: networks of each source for each shadow.
        shadow_experts: experts of each shadow distillation; 0 where the method follows none.
        shadow_iterations: outer steps of each, likewise.
        confidence: level of every interval.
        seconds: the time it took, of all calls together.
    """

    attacks: tuple[MembershipAttack, ...]
    canaries: tuple[CanaryTest, ...]
    networks: int
    shadows: int
    shadow_networks: int
    shadow_experts: int
    shadow_iterations: int
    confidence: float
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Plain values, null for what is missing."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any], origin: str = "the record of the attacks") -> Membership:
        """The inverse of `as_json`.

        Raises:
            ArtifactError: something is missing or of another kind; ``origin`` says where.
        """
        try:
            return TypeAdapter(cls).validate_python(dict(value))
        except ValidationError as error:
            raise ArtifactError(
                f"{origin} cannot be used ({first_complaint(error)})",
                expected="a record as this version of medistill writes it",
                do="remove it and run the audit again",
            ) from None


def loss_attack(
    confidence: np.ndarray,
    member: np.ndarray,
    groups: np.ndarray,
    cells: Mapping[tuple[CellTrait, str], np.ndarray],
    source: Source,
    *,
    level: float,
    smallest_cell: int,
) -> MembershipAttack:
    """Yeom's attack (2018): an image on which the networks' mean cross-entropy is small is taken for a member.

    Args:
        confidence: (S, N) of S networks, from `true_class_confidence`; the loss is log(1 + exp(-confidence)).
    """
    scores = -np.logaddexp(0.0, -confidence).mean(axis=0)
    return score_attack("loss", scores, member, groups, cells, source, level=level, smallest_cell=smallest_cell)


def score_attack(
    name: AttackName,
    scores: np.ndarray,
    member: np.ndarray,
    groups: np.ndarray,
    cells: Mapping[tuple[CellTrait, str], np.ndarray],
    source: Source,
    *,
    level: float,
    smallest_cell: int,
) -> MembershipAttack:
    """An attack that asks once about each image, its chance worked out exactly.

    Args:
        name: which attack.
        scores: (N,), higher speaks for membership; NaN where none can be given.
        member: (N,) bool.
        groups: (N,), patients; none may have both members and non-members but for those whose images were drawn singly.
        cells: trait and name -> rows of the N images.
        source: what was attacked, or what the attacked networks learnt from.
        level: of every interval, such as 0.95.
        smallest_cell: fewest members, and non-members, for whom figures are shown.
    """
    trials = Trials(scores[None], member[None], groups)
    everyone, *others = _cells(trials, cells, level, smallest_cell)
    told = tuple(replace(one, chance=_exact_chance(one, everyone)) for one in everyone.detections)
    return MembershipAttack(name, source, (replace(everyone, detections=told), *others))


def likelihood_ratio_attack(
    confidence: np.ndarray,
    member: np.ndarray,
    groups: np.ndarray,
    cells: Mapping[tuple[CellTrait, str], np.ndarray],
    source: Source,
    way: Way,
    numbers: np.random.Generator,
    *,
    level: float,
    smallest_cell: int,
) -> MembershipAttack:
    """LiRA over K shadows, each in turn the target, so that members and non-members are the same patients by chance.

    All targets have one threshold. The chance is that of a randomisation test: which shadow held which images is
    paired with the shadows' answers anew, at random, `REDRAWS` times. Where images leave no trace in the answers every
    pairing is as likely as the true one, so the test holds its level however the patients were drawn.

    Args:
        confidence: (K, N), as in `likelihood_ratio`.
        member: (K, N) bool.
        groups: (N,), patients.
        cells: trait and name -> rows of the N images.
        source: what the networks learnt from.
        way: which likelihood ratio.
        numbers: for the pairings.
        level: of every interval, such as 0.95.
        smallest_cell: fewest patients for whom figures are shown.
    """
    name = RATIO_ATTACKS[way]
    scores = likelihood_ratio(confidence, member, way)
    known = np.isfinite(scores)
    if not (known & member).any() or not (known & ~member).any():
        why = "too few shadows hold an image, or too few do not, to compare them"
        return MembershipAttack(name, source, (), dropped=float(1 - known.mean()), reason=why)
    trials = Trials(scores, member, groups)
    everyone, *others = _cells(trials, cells, level, smallest_cell)
    wanted = [one for one in everyone.detections if one.rate.value is not None]
    as_good = dict.fromkeys((one.one_in for one in wanted), 0)
    for _ in range(REDRAWS if wanted else 0):
        paired = member[numbers.permutation(len(member))]
        values, belongs, _ = Trials(likelihood_ratio(confidence, paired, way), paired, groups).by_patient()
        for one in wanted:
            as_good[one.one_in] += _share_found(values, belongs, one.one_in) >= (one.rate.value or 0.0)
    told = tuple(
        replace(one, chance=(1 + as_good[one.one_in]) / (1 + REDRAWS)) if one.one_in in as_good else one
        for one in everyone.detections
    )
    shown = (replace(everyone, detections=told), *others)
    return MembershipAttack(name, source, shown, dropped=float(1 - known.mean()))


def _cells(
    trials: Trials, cells: Mapping[tuple[CellTrait, str], np.ndarray], level: float, smallest: int
) -> list[AttackCell]:
    """All patients, then each cell.

    A cell with fewer than ``smallest`` members or non-members is not shown, and neither is the next smallest of its
    trait where it would be the only one: its figures would follow from the others and the whole.
    """
    found = [_judged(trials, "all", "", level)]
    parts = {key: trials.of(rows) for key, rows in cells.items()}
    patients = {key: _patients(part) for key, part in parts.items()}
    for trait in ("class", "site"):
        keys = sorted((key for key in cells if key[0] == trait), key=lambda key: min(patients[key]))
        small = [key for key in keys if min(patients[key]) < smallest]
        why = dict.fromkeys(small, f"fewer than {smallest} patients on one side, who might be recognised")
        if len(small) == 1 and len(keys) > 1:
            why[keys[1]] = "the figures of a smaller group would follow from it"
        for key in (key for key in cells if key[0] == trait):
            if key in why:
                nothing = Estimate.impossible(why[key])
                found.append(AttackCell(key[0], key[1], None, None, nothing, (), why[key]))
            else:
                found.append(_judged(parts[key], key[0], key[1], level))
    return found


def _patients(trials: Trials) -> tuple[int, int]:
    """How many patients were members in some trial, and non-members in some."""
    _, belongs, whose = trials.by_patient()
    return len(np.unique(whose[belongs])), len(np.unique(whose[~belongs]))


def _judged(trials: Trials, trait: CellTrait, name: str, level: float) -> AttackCell:
    values, belongs, whose = trials.by_patient()
    members, non_members = len(np.unique(whose[belongs])), len(np.unique(whose[~belongs]))
    if not members or not non_members:
        nothing = Estimate.impossible(f"there is no {'non-member' if members else 'member'}")
        return AttackCell(
            trait, name, members, non_members, nothing, tuple(Detection(one, nothing, None) for one in ONE_IN)
        )
    area = Components.of(values, belongs, whose).estimate(level)
    if area.reason:
        why = f"its {members} members and {non_members} non-members leave no variance to measure"
        area = replace(area, reason=why)
    return AttackCell(
        trait,
        name,
        members,
        non_members,
        area,
        tuple(_detection(values, belongs, members, non_members, one_in, level) for one_in in ONE_IN),
    )


def _detection(
    values: np.ndarray, belongs: np.ndarray, members: int, non_members: int, one_in: int, level: float
) -> Detection:
    if non_members < one_in:
        return Detection(
            one_in,
            Estimate.impossible(
                f"to be wrong about 1 in {one_in:,}, an attack needs {one_in:,} who were not in the training data"
            ),
            None,
        )
    return Detection(one_in, exact_proportion(_share_found(values, belongs, one_in), members, level), None)


def _share_found(values: np.ndarray, belongs: np.ndarray, one_in: int) -> float:
    """Share of the members strictly above the threshold.

    Of n non-members at most (n + 1) / one_in - 1 may lie above it, not n / one_in: for a further non-member the false
    positive rate is then at most 1 / one_in, although the threshold was set on these (the conformal quantile, Vovk
    2005). Ties count as not found.
    """
    allowed = (int(np.sum(~belongs)) + 1) // one_in - 1
    threshold = np.sort(values[~belongs])[-1 - allowed]
    return float(np.mean(values[belongs] > threshold))


def _exact_chance(one: Detection, everyone: AttackCell) -> float | None:
    if one.rate.value is None or everyone.members is None or everyone.non_members is None:
        return None
    found = round(one.rate.value * everyone.members)
    allowed = (everyone.non_members + 1) // one.one_in - 1
    return chance_of_as_many(found, everyone.members, everyone.non_members, allowed)
