"""Score attacks: a score for every person, higher for a member; how well it tells them apart, and what follows."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from medistill.evaluate.delong import Components
from medistill.evaluate.intervals import Estimate
from medistill.privacy.attack import NOT_MADE, Attack, Evidence, Family, Figures, Knowledge
from medistill.privacy.criterion import Asked, Criterion
from medistill.privacy.exact import chance_of_as_many, exact_proportion
from medistill.privacy.membership import SOURCES, AttackCell, CellTrait, Detection, MembershipAttack, Source
from medistill.privacy.signals import Cells, SetFacts, Signals
from medistill.privacy.trials import Trials
from medistill.recipe import AuditRecipe

FOUND = Asked("found", "at most", "share", "most_found")
"""Patients found where one non-member in `ATTACKED_AT` may be taken for a member."""
AUC = Asked("auc", "at most", "share", "most_auc")
"""Area under the attack's ROC curve."""
ATTACKED_AT = 100
"""The attacks are judged where they may be wrong about one non-member in so many."""
ONE_IN = (ATTACKED_AT, 1000)
"""False positive rates that the attacks are allowed: one non-member in so many."""
MORE_TO_SEE = "more held-out people, or networks that are trained for longer, would show it if it can"
GUESS = 0.5
"""AUC of an attack that knows nothing."""
GIVEN_AWAY: dict[Source, str] = {"random": "random originals", "raw": "all originals"}
"""Controls, where a member has left all that there is."""
REDRAWS = 199
"""Random pairings that an attack over shadows is held against; the smallest chance it can show is then 1 / 200."""
NOT_ATTACKED = (
    "membership inference was not tried with networks that are trained on the set, and a set that passes everything "
    "else can still fall to it"
)
NOT_TRIED = "Membership inference was not tried with networks that are trained on the set."


class MembershipFamily(Attack):
    """An attack that asks who was a member."""

    family: ClassVar[Family] = "membership"
    knows: ClassVar[tuple[Knowledge, ...]] = ("set", "person")

    def skipped(self, settings: AuditRecipe) -> tuple[Criterion, ...]:
        """One criterion for the whole family: no set passes without it."""
        threshold = FOUND.threshold(settings)
        return (Criterion("Membership inference", None, threshold, "not enough evidence", NOT_ATTACKED, FOUND),)

    def leaves_open(self, evidence: Evidence | None) -> str:
        """That it was not tried, where it was not."""
        return NOT_TRIED if evidence is None else ""


@dataclass(frozen=True)
class Pairing:
    """What a randomisation test of an attack over shadows needs.

    Attributes:
        scores_of: (K, N) bool, which shadow held which image -> the scores (K, N) that would follow.
        rng: draws which shadow's membership is paired with which shadow's answers.
    """

    scores_of: Callable[[np.ndarray], np.ndarray]
    rng: np.random.Generator


@dataclass(frozen=True)
class Scores:
    """What an attack says of people, on one source.

    Attributes:
        source: what was attacked, or what the attacked networks learnt from.
        trials: scores, higher speaks for membership, and the truth; None where there are none.
        cells: classes and sites among the images.
        pairing: of an attack that asks once a shadow; None of one that asks once.
        reason: why there are no scores, as the end of "cannot be made, because ..."; else empty.
    """

    source: Source
    trials: Trials | None
    cells: Cells
    pairing: Pairing | None = None
    reason: str = ""

    @classmethod
    def impossible(cls, source: Source, reason: str) -> Scores:
        """None, because of ``reason``."""
        return cls(source, None, {}, reason=reason)

    @classmethod
    def asked_once(
        cls, source: Source, scores: np.ndarray, member: np.ndarray, groups: np.ndarray, cells: Cells
    ) -> Scores:
        """Of an attack that asks once about each image.

        Args:
            source: what was attacked.
            scores: (N,), higher speaks for membership; NaN where none can be given.
            member: (N,) bool.
            groups: (N,), patients; none may have both members and non-members but for those whose images were drawn
                singly.
            cells: classes and sites among the N images.
        """
        return cls(source, Trials(scores[None], member[None], groups), cells)


class ScoreAttack(MembershipFamily):
    """An attack that scores people; what derives from it gives the scores, and all else follows."""

    asks: ClassVar[tuple[Asked, ...]] = (FOUND, AUC)

    @abstractmethod
    def scores(self, signals: Signals) -> tuple[Scores, ...]:
        """Scores on the set, and on each control."""

    def scores_one_run(self, facts: SetFacts) -> bool:
        """Whether its scores can tell who is in a set that is made once: they must not need shadows."""
        return self.needs != "shadows" and self.applies(facts)

    def run(self, signals: Signals) -> Evidence:
        """Score everybody on every source; the chance of as many is worked out where it can be."""
        reason = signals.shadows.reason if self.needs == "shadows" else ""
        told = tuple(Scores.impossible(source, reason) for source in SOURCES) if reason else self.scores(signals)
        return Evidence(membership=tuple(measure(self.name, one, signals.level, signals.smallest_cell) for one in told))

    def judge(self, evidence: Evidence, facts: SetFacts, settings: AuditRecipe) -> tuple[Criterion, ...]:
        """How many patients it finds, and how well it ranks them all; then each class and site that fails by it.

        A class or site in which little is found is not told of here: few have enough patients to be judged by
        themselves. An attack that its controls do not show to see passes nothing.
        """
        told: list[Criterion] = []
        blind = self._blind(evidence)
        for attack in (one for one in evidence.membership if one.source == "distilled"):
            asked = [one.unless(blind) for cell in attack.cells for one in self._of_cell(cell, settings)]
            if not asked:
                threshold, name = FOUND.threshold(settings), f"Patients found ({self.display_name} attack)"
                asked = [Criterion(name, None, threshold, "not enough evidence", attack.reason, FOUND)]
            told += asked
        return tuple(told)

    def figures(self, evidence: Evidence, asked: Asked) -> Figures:
        """The same of everybody, on each source."""
        found = {one.source: one for one in evidence.membership if one.name == self.name}
        return Figures(*(_of_everybody(found.get(source), asked) for source in SOURCES))

    def _blind(self, evidence: Evidence) -> str:
        """What its controls do not show, where they were measured and the interval of none lies above a guess."""
        controls = [one for one in evidence.membership if one.name == self.name and one.source != "distilled"]
        areas = {one.source: one.cells[0].auc for one in controls if one.cells}
        known = {source: (area.value, area.low) for source, area in areas.items() if area.value is not None}
        if not known or any((value if low is None else low) > GUESS for value, low in known.values()):
            return ""
        seen = ", ".join(
            f"{value:.3f}{'' if low is None else f', from {low:.3f},'} on {GIVEN_AWAY[source]}"
            for source, (value, low) in known.items()
        )
        return f"its controls do not show that it can tell anybody from strangers (area {seen}); {MORE_TO_SEE}"

    def _of_cell(self, cell: AttackCell, settings: AuditRecipe) -> list[Criterion]:
        end = _of_cell_words(cell)
        of = f"({self.display_name} attack{end}"
        found = [
            *(
                _limited(f"Patients found {of}", one.rate, FOUND, settings).unless_sure_to_pass(
                    _too_few(one.if_all, FOUND.threshold(settings))
                )
                for one in cell.detections
                if one.one_in == ATTACKED_AT
            ),
            _limited(f"AUC {of}", cell.auc, AUC, settings),
        ]
        return [one for one in found if cell.trait == "all" or one.verdict == "fail"]


def of_site(name: str) -> str:
    """How the name of a criterion ends that is about one site."""
    return f", site {name})"


def _of_cell_words(cell: AttackCell) -> str:
    """How it ends that is about a cell."""
    if cell.trait == "site":
        return of_site(cell.name)
    return f", {cell.trait} {cell.name})" if cell.name else ")"


def _too_few(if_all: float | None, most: float) -> str:
    if if_all is None or if_all > most:
        return ""
    return f"if all members were found, they would be so few that the interval began at {if_all:.2g}"


def _of_everybody(attack: MembershipAttack | None, asked: Asked) -> Estimate:
    """What a criterion of this kind is about, of all patients."""
    if attack is None or not attack.cells:
        return Estimate.impossible(attack.reason) if attack is not None and attack.reason else NOT_MADE
    everybody = attack.cells[0]
    rates = (one.rate for one in everybody.detections if one.one_in == ATTACKED_AT)
    return everybody.auc if asked == AUC else next(rates, NOT_MADE)


def _limited(name: str, found: Estimate, asked: Asked, settings: AuditRecipe) -> Criterion:
    """Fail where the whole interval of what is found lies above the threshold, pass where the figure does not.

    An area of 1 has no interval, since no pair of patients is ranked wrongly; it fails by its value.
    """
    most = asked.threshold(settings)
    if found.value is None:
        return Criterion(name, None, most, "not enough evidence", found.reason, asked)
    if (found.value if found.low is None else found.low) > most:
        return Criterion(name, found.value, most, "fail", "", asked)
    if found.value > most:
        reason = "its interval reaches below the threshold"
        return Criterion(name, found.value, most, "not enough evidence", reason, asked)
    return Criterion(name, found.value, most, "pass", "", asked)


def measure(name: str, scores: Scores, level: float, smallest_cell: int) -> MembershipAttack:
    """How well scores tell members from others, on everybody and by class and site.

    The chance is an exact count of orders for an attack that asks once. Over shadows it is that of a randomisation
    test: which shadow held which images is paired with the shadows' answers anew, at random, `REDRAWS` times. Where
    images leave no trace in the answers every pairing is as likely as the true one, so the test holds its level however
    the patients were drawn.

    Args:
        name: of the attack.
        scores: on one source.
        level: of every interval, such as 0.95.
        smallest_cell: fewest members, and non-members, for whom figures are shown.
    """
    trials, pairing = scores.trials, scores.pairing
    if trials is None:
        return MembershipAttack(name, scores.source, (), reason=scores.reason)
    known = np.isfinite(trials.scores)
    dropped = 0.0 if pairing is None else float(1 - known.mean())
    if pairing is not None and (not (known & trials.member).any() or not (known & ~trials.member).any()):
        why = "too few shadows hold an image, or too few do not, to compare them"
        return MembershipAttack(name, scores.source, (), dropped=dropped, reason=why)
    everyone, *others = _cells(trials, scores.cells, level, smallest_cell)
    chances = _exact_chances(everyone) if pairing is None else _paired_chances(everyone, trials, pairing)
    detections = tuple(replace(one, chance=chances.get(one.one_in)) for one in everyone.detections)
    return MembershipAttack(name, scores.source, (replace(everyone, detections=detections), *others), dropped=dropped)


def _exact_chances(everyone: AttackCell) -> dict[int, float]:
    """`ONE_IN` -> the chance of as many, by counting orders."""
    chances = {}
    for one in everyone.detections:
        if one.rate.value is not None and everyone.members is not None and everyone.non_members is not None:
            found, allowed = round(one.rate.value * everyone.members), _allowed(everyone.non_members, one.one_in)
            chances[one.one_in] = chance_of_as_many(found, everyone.members, everyone.non_members, allowed)
    return chances


def _paired_chances(everyone: AttackCell, trials: Trials, pairing: Pairing) -> dict[int, float]:
    """`ONE_IN` -> the chance of as many, by pairing anew."""
    wanted = [one for one in everyone.detections if one.rate.value is not None]
    as_good = dict.fromkeys((one.one_in for one in wanted), 0)
    for _ in range(REDRAWS if wanted else 0):
        paired = trials.member[pairing.rng.permutation(len(trials.member))]
        values, belongs, _ = Trials(pairing.scores_of(paired), paired, trials.groups).by_patient()
        for one in wanted:
            as_good[one.one_in] += _share_found(values, belongs, one.one_in) >= (one.rate.value or 0.0)
    return {one_in: (1 + count) / (1 + REDRAWS) for one_in, count in as_good.items()}


def _cells(trials: Trials, cells: Cells, level: float, smallest: int) -> list[AttackCell]:
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
    if_all = exact_proportion(1.0, members, level).low
    return Detection(one_in, exact_proportion(_share_found(values, belongs, one_in), members, level), None, if_all)


def _share_found(values: np.ndarray, belongs: np.ndarray, one_in: int) -> float:
    """Share of the members strictly above the threshold.

    Of n non-members at most (n + 1) / one_in - 1 may lie above it, not n / one_in: for a further non-member the false
    positive rate is then at most 1 / one_in, although the threshold was set on these (the conformal quantile, Vovk
    2005). Ties count as not found.
    """
    threshold = np.sort(values[~belongs])[-1 - _allowed(int(np.sum(~belongs)), one_in)]
    return float(np.mean(values[belongs] > threshold))


def _allowed(non_members: int, one_in: int) -> int:
    """How many of the non-members may lie above the threshold."""
    return (non_members + 1) // one_in - 1
