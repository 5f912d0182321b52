"""Privacy: what an audit tried on the set and what it found, part by part, or why there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import cast

from medistill.methods.base import Facts
from medistill.privacy.attack_registry import space_name
from medistill.privacy.audit import Audit, GroupCopies
from medistill.privacy.criterion import Criterion
from medistill.privacy.membership import Membership, Source
from medistill.privacy.score_attack import ONE_IN
from medistill.report import attack_plots
from medistill.report.attack_words import asked_text, found_text, name_of, verdict_word
from medistill.report.audit_statements import (
    ADVERSARY,
    SOURCE_NAMES,
    SUBJECT_NAMES,
    AttackRow,
    attack_remarks,
    attack_rows,
    consequence,
    heading,
    reason_text,
)
from medistill.report.blocks import Beside, Block, Bullets, Drawing, Figure, Fold, Heading, Prose, arm_legend
from medistill.report.caveat import Caveat
from medistill.report.one_run_statements import one_run_sentences, one_run_table
from medistill.report.record import Report
from medistill.report.section import Section
from medistill.report.selection_statements import not_attacked
from medistill.report.soft_label_statements import soft_label_blocks
from medistill.report.table import Cell, Column, Row, Span, Table, table
from medistill.report.text import Absent, Code, Missing, Small, Strong, Text
from medistill.report.text_statements import text_sentences
from medistill.report.view import ReportView
from medistill.report.wording import class_label, count, counted, level, listed, seconds, sentences

SEARCHED_FOR_PEOPLE = (
    "Some searches ask whether an image holds what is one person’s own: the mean of all originals is taken off, and "
    "what varies much among people counts little. They look under grey curves and blur, in other poses, in parts and "
    "in mixtures of up to three patients. In these a copy must also be surer than chance makes any image: by how alike "
    "the images are to the held-out patients, and by what they reach when half of these take the place of the training "
    "patients. Together they are meant to be wrong about one set in twenty at most. Of each control some images are "
    "searched."
)
"""How the searches that compare with people decide."""


def section(view: ReportView) -> Section:
    """The audit."""
    return Section("privacy", "Privacy", tuple(_blocks(view)), contents="Privacy")


def _blocks(view: ReportView) -> Iterator[Block]:
    report = view.report
    if report.audit is None:
        yield Prose(Absent(view.missing("audit")))
        if report.distilled is not None:
            yield Prose(report.distilled.privacy)
        return
    for part in PARTS:
        yield from part(report.audit, report)


def _gate(audit: Audit, report: Report) -> Iterator[Block]:
    yield Prose((Strong(f"{heading(audit)}."), f" {consequence(audit)}"))
    yield Prose(ADVERSARY)
    yield Prose(audit.guarantee)
    yield table(
        "What the gate asked",
        (Column("Criterion"), Column("Found", "count"), Column("Asked for", "count"), Column("Verdict")),
        tuple(row for one in audit.criteria for row in _criterion(one)),
        style="gate",
    )
    budget = ", and the budget of the attacks," if audit.trained else ""
    laxer = "" if audit.deviations else f" They{budget} are no laxer than those that medistill ships."
    yield Prose(f"The thresholds are the recipe’s (section audit). No standard gives any.{laxer}", small=True)


def _criterion(one: Criterion) -> Iterator[Row]:
    yield (name_of(one), found_text(one), asked_text(one), verdict_word(one))
    if said := reason_text(one):
        yield (Span(4, said),)


def _copies(audit: Audit, report: Report) -> Iterator[Block]:
    yield Heading("Copies of training images")
    if not audit.copies:
        yield Prose(Absent("the corpus has no held-out image to compare with"))
        return
    yield Prose(
        f"For each image the nearest of {counted(audit.train_images, 'training image')} and of "
        f"{counted(audit.held_out_images, 'held-out image')} were found. An image is a copy where the former is nearer "
        "than a share of the distance to the latter. Random originals are copies of themselves, so the search must "
        "find them; held-out originals, compared with other patients, are none. “Nearer to training” is the chance "
        "that a training image is the nearest where equally many of both are drawn; half is as near to the "
        "one as to the other."
    )
    if any(rule.false_alarms is not None for rule in audit.rules):
        yield Prose(SEARCHED_FOR_PEOPLE)
    if report.distilled is not None and report.distilled.tiles > 1:
        yield Prose(
            "Of the distilled images both were compared: their tiles, enlarged as networks are shown them, and the "
            "stored images that these are cut from."
        )
    yield _copies_table(audit)
    yield Fold("Copies among the distilled images, by class and site", (_copies_by_group(audit),))


def _copies_table(audit: Audit) -> Table:
    return table(
        "Copies of training images",
        (
            Column("Images"),
            Column("Compared in"),
            Column("Copies", "count"),
            Column("Smallest ratio", "number"),
            Column("Median ratio", "number"),
            Column("Limit", "number"),
            Column("Nearer to training", "bare share"),
        ),
        tuple(
            (
                SUBJECT_NAMES[one.subject],
                space_name(one.space),
                f"{count(one.copies)} of {count(one.images)}",
                one.smallest_ratio,
                one.median_ratio,
                rule.ratio,
                one.nearer,
            )
            for rule in audit.rules
            for one in audit.copies
            if one.space == rule.space
        ),
    )


def _copies_by_group(audit: Audit) -> Table:
    spaces = audit.of_subject("distilled")
    classes = [of.name for of in spaces[0].classes if of.images]
    sites = [of.name for of in spaces[0].sites]
    rows: list[Row] = [
        (f"Of class {class_label(name)}", *(_group_cell(one.classes, name) for one in spaces)) for name in classes
    ]
    rows += [
        (f"Nearest to site {class_label(name)}", *(_group_cell(one.sites, name) for one in spaces)) for name in sites
    ]
    headings = (Column(f"Copies in {space_name(one.space)}", "count") for one in spaces)
    return table("Copies by class and site", (Column("Distilled images"), *headings), rows)


def _group_cell(groups: tuple[GroupCopies, ...], name: str) -> Cell:
    of = next(group for group in groups if group.name == name)
    if of.images is None or of.copies is None:
        return Missing("too few patients")
    return f"{count(of.copies)} of {count(of.images)}"


def _starting_images(audit: Audit, report: Report) -> Iterator[Block]:
    yield Heading("What is left of the starting images")
    if not audit.residue:
        yield Prose(Absent(audit.residue_reason))
        return
    yield Prose(
        "Correlation with the real image that each began as, the mean of its class taken off, beside the other "
        "training images of the class."
    )
    yield table(
        "What is left of the starting images",
        (
            Column("Images"),
            Column("With its own", "number"),
            Column("With the others", "number"),
            Column("Most like its own", "share"),
            Column("By chance", "percent"),
            Column("Among the nearest twentieth", "share"),
        ),
        tuple(
            (SUBJECT_NAMES[one.subject], one.own, one.others, one.recovered, one.chance, one.traced)
            for one in audit.residue
        ),
    )


def _membership(audit: Audit, report: Report) -> Iterator[Block]:
    yield Heading("Membership inference")
    tried = audit.membership
    if tried is None:
        yield Prose(Absent("membership inference was not tried"))
        return
    yield Prose(sentences(_how_attacked(tried, attack_remarks(audit), report.facts), not_attacked(report)))
    if figures := tuple(_figures(audit, tried)):
        yield arm_legend(("distilled", "random", "raw"), points=True)
        yield Beside(figures)
    rows = attack_rows(audit)
    yield _attacks("Attacks on membership", [row for row in rows if not row.group])
    if by_group := [row for row in rows if row.group]:
        table_of_groups = _attacks("Attacks by class and site", by_group)
        yield Fold("Attacks on the distilled images, by class and site", (table_of_groups,))
    if tried.canaries:
        yield _canaries(tried)
    if tried.soft_labels is not None:
        yield from soft_label_blocks(tried.soft_labels)
    if tried.one_run is not None:
        yield Prose(sentences(*one_run_sentences(tried.one_run, audit.split_unit)))
        yield one_run_table(tried.one_run)


def _how_attacked(tried: Membership, remarks: Sequence[str], facts: Facts) -> str:
    said = [
        "Who was in the training split is guessed from networks trained on the set, and, so that the figures mean "
        "something, on random originals and on all of them. "
        f"{counted(tried.shadows, 'shadow distillation')}, {counted(tried.networks, 'network')} of each source in the "
        "loss attack."
        if tried.networks or tried.shadows
        else "Who was in the training split is guessed from the set alone. Attacks that train networks on it were left "
        "out.",
        *remarks,
    ]
    if tried.shadows:
        spent = [counted(tried.shadow_experts, "expert")] if facts.experts else []
        spent += [counted(tried.shadow_iterations, "outer step")] if facts.outer_steps else []
        budget = f" with {listed(spent)}" if spent else ""
        said.append(
            f"Each shadow was made of half of the patients{budget}, and answers by "
            f"{counted(tried.shadow_networks, 'network')} of each source: the likelihood ratio and the canaries tell "
            "of the method under that budget."
        )
    return " ".join(said)


def _figures(audit: Audit, tried: Membership) -> Iterator[Figure]:
    for of in attack_plots.ATTACK_FIGURES:
        entries = attack_plots.entries(audit, of)
        if entries:
            most = attack_plots.allowed(audit, of)
            gate = "" if most is None else ". Dashed line: what the gate allows"
            draw = partial(attack_plots.attacks, entries, of.axis, guessing=of.guessing, most=most)
            drawing = Drawing(f"attacks-{of.figure}", draw, attack_plots.describe(entries, of.words))
            text = f"{of.text} {level(tried.confidence)}s. Solid line: guessing{gate}{of.last}"
            yield Figure(of.title, (drawing,), text)


def _attacks(name: str, rows: list[AttackRow]) -> Table:
    return table(
        name,
        (
            Column("Attack"),
            Column("Networks learnt from"),
            Column("Patients"),
            Column("AUC", "estimate"),
            *(Column(f"Found, 1 in {one_in:,} wrong", "share") for one_in in ONE_IN),
        ),
        tuple(_attack(row) for row in rows),
    )


def _attack(row: AttackRow) -> Row:
    name: Text = (f"{row.attack} ", Small(class_label(row.group))) if row.group else row.attack
    if row.reason:
        return (name, SOURCE_NAMES[row.source], Span(2 + len(ONE_IN), Missing(row.reason)))
    patients = f"{count(row.members or 0)} members, {count(row.non_members or 0)} others"
    return (name, SOURCE_NAMES[row.source], patients, row.auc, *row.found)


def _canaries(tried: Membership) -> Table:
    return table(
        "Canaries",
        (
            Column("Networks learnt from"),
            Column("Canaries", "count"),
            Column("Wrong label repeated, inserted", "share"),
            Column("Not inserted", "share"),
            Column("Chance of as many", "number"),
        ),
        tuple(
            (
                SOURCE_NAMES[cast("Source", test.source)],
                test.canaries,
                test.inserted,
                test.absent,
                Missing("it cannot be told") if test.chance is None else test.chance,
            )
            for test in tried.canaries
        ),
    )


def _letters(audit: Audit, report: Report) -> Iterator[Block]:
    yield Heading("Letters in the images")
    yield from (Prose(said) for said in text_sentences(audit.text) if said)


def _not_tested(audit: Audit, report: Report) -> Iterator[Block]:
    yield Heading("What was not tested")
    yield Bullets(audit.not_tested)
    of = f"Corpus {audit.corpus[:12]}, set" if audit.corpus else "Set"
    made = f"{of} {audit.set_digest[:12]}, seed {audit.seed}, {audit.network}, {seconds(audit.seconds)}."
    yield Prose((f"{made} ", Code(audit.command)) if audit.command else made, small=True)


PARTS: tuple[Callable[[Audit, Report], Iterator[Block]], ...] = (
    _gate,
    _copies,
    _starting_images,
    _membership,
    _letters,
    _not_tested,
)
"""What is told of an audit, in the order of the page."""


def guarantee(report: Report) -> Iterator[Caveat]:
    """What is guaranteed formally, and what is not."""
    one, distilled = report.somebody, report.distilled
    if report.of_classifier:
        yield Caveat(
            "Privacy is not judged here",
            f"What the set that the classifier was trained on gives away of {one} stands with that set: in its "
            "bundle, or in the report of its run. Nothing here measures it.",
        )
    elif distilled is None or distilled.guarantee is None:
        made = (
            "How the set was made is not known here, and"
            if distilled is None
            else "The set was made without differential privacy, and"
        )
        yield Caveat(
            "No formal privacy guarantee",
            "The set was made without differential privacy. The audit below tells what was tried to find out about "
            f"{one} from it; other attacks may find more."
            if report.audit is not None
            else f"{made} no audit of it was run: nothing here measures what could be found out about {one} from it.",
        )
    else:
        known, spent = distilled.guarantee, distilled.spent
        yield Caveat(
            "What the privacy guarantee covers",
            f"The distilled images are differentially private for one {known.unit} of the training split "
            f"(epsilon {known.epsilon_text}, delta {known.delta:.3g}), if no setting of the recipe was found by "
            "trials on the same patients. That covers the images, labels and learning rate alone. This report, its "
            "counts, and the networks trained on originals are not covered; the figures also say something of the test "
            "patients." + ("" if spent is None else f" {spent.sentence}"),
        )
