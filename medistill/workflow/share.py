"""Share: put the set of a run, with all that a recipient needs to judge it, into one bundle, if it may leave."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from medistill.artifacts.atomic import read_bytes
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.new_folder import refuse_taken_file
from medistill.errors import GateError, MedistillError, RecipeError, UsageError, first_complaint
from medistill.privacy import gate
from medistill.privacy.attacks import letters
from medistill.privacy.audit import MAKING, Audit, parse_audit
from medistill.privacy.criterion import Criterion
from medistill.progress import Progress, Silent
from medistill.recipe import Recipe, override_recipe
from medistill.report.audit_statements import verdict_sentence
from medistill.report.record import Report
from medistill.sharing.archive import write_archive
from medistill.sharing.bundle import Bundle, pack
from medistill.sharing.keys import SigningKey
from medistill.sharing.manifest import MANIFEST, SIGNATURE
from medistill.sharing.signature import sign
from medistill.sharing.statement import Statement
from medistill.workflow.audit_seal import RECORD, sealed_here
from medistill.workflow.received import ReceivedSet, receive
from medistill.workflow.report import read_report

LACKING = {
    MAKING.key: "audit the folder of the run that made it, on the machine that made it, as it was made",
    gate.HELD_OUT.key: gate.MORE_HELD_OUT,
}
"""Key of what an audit asks of itself -> what to do where it lacks that."""


def share(
    run: str | Path,
    *,
    out: str | Path,
    licence: str,
    intended_use: str,
    sender: str = "",
    acknowledged_risk: str | None = None,
    month: str | None = None,
    dicom: bool = False,
    key: SigningKey | None = None,
    progress: Progress = Silent(),
) -> Bundle:
    """Write the bundle of a run to ``out``. The same run and words give the same bytes, on any day, from any folder.

    Args:
        run: folder of a run, or of a set, which then has neither audit nor report.
        licence: SPDX identifier or a text; there is no default, since it is the sender's to choose.
        intended_use: what the set may be used for.
        sender: who sends it, as it should be told; empty tells nothing.
        acknowledged_risk: why the set leaves without a passing audit; needed only then, and told in the bundle.
        month: "YYYY-MM" to tell when it was shared; None tells no date.
        dicom: put the images in as DICOM Secondary Capture objects too.
        key: what to sign with; None does not sign.

    Raises:
        UsageError: ``out`` exists, the licence or the use is missing, or a text cannot stand in a bundle.
        GateError: the set has no passing audit that was made here, and no risk was acknowledged; or what it was
            evaluated on is not its own corpus.
        ArtifactError: the set or a record of the run is missing or damaged, or the bundle cannot be written.
    """
    folder, target = Path(run), Path(out)
    _refuse_unsaid(folder, target, licence, intended_use, acknowledged_risk)
    received = receive(folder)
    distilled, (audit, sealed) = received.distilled, _audit_of(folder, received)
    by_itself = audit is not None and audit.passed
    passed = by_itself and sealed
    if not passed and acknowledged_risk is None:
        raise _not_sealed(folder) if by_itself else _kept_back(folder, audit, distilled)
    try:
        statement = Statement(
            licence=licence,
            intended_use=intended_use,
            sender=sender,
            acknowledged_risk=None if passed else acknowledged_risk,
            month=month,
        )
        with progress.task("Packing the bundle", 4) as task:
            report = _report_of(folder, received.set_digest)
            task.advance(figures="records read")
            objects = _dicom_objects(distilled, audit) if dicom else None
            task.advance(figures="images drawn")
            files = pack(distilled, statement, audit=audit, report=report, dicom=objects)
            if key is not None:
                files[SIGNATURE] = sign(files[MANIFEST], key)
            bundle = Bundle.of_files(files)
            task.advance(figures="checked")
            write_archive(target, files)
            task.advance(figures="written")
    except ValidationError as error:
        raise UsageError(
            f"what is to be shared cannot stand in a manifest: {first_complaint(error)}",
            expected="texts of one line, of at most 2,000 visible characters (names: 200), and a month as 2026-11",
            do="shorten or correct that text",
        ) from None
    return bundle


def _refuse_unsaid(run: Path, out: Path, licence: str, intended_use: str, acknowledged_risk: str | None) -> None:
    """Refuse what only the sender can decide, where it was left open."""
    if run.is_file():
        raise UsageError(
            f"{run} is a bundle already", expected="the folder of a run or of a set", do="send that bundle as it is"
        )
    refuse_taken_file(out)
    if not licence.strip():
        raise UsageError(
            "no licence was chosen",
            expected="the licence under which others may use the set: an SPDX identifier or a text",
            do="add, for instance, --licence CC-BY-4.0 or --licence 'Data use agreement 12, section 3'",
        )
    if not intended_use.strip():
        raise UsageError(
            "it was not said what the set may be used for",
            expected="one or two sentences",
            do="add, for instance, --intended-use 'Research on training networks; not for diagnosis'",
        )
    if acknowledged_risk is not None and not acknowledged_risk.strip():
        raise UsageError(
            "--acknowledge-risk gives no reason",
            expected="why the set may leave without a passing audit; recipients read it",
            do="write the reason behind --acknowledge-risk",
        )


def _audit_of(folder: Path, received: ReceivedSet) -> tuple[Audit | None, bool]:
    """The audit of this very set, and whether these very bytes of it were sealed here; None where there is none."""
    path = folder / "audit" / RECORD
    if not path.is_file():
        return None, False
    data = read_bytes(path, "audit")
    audit = parse_audit(data, path)
    if audit.set_digest != received.set_digest:
        return None, False
    return audit, sealed_here(received.distilled, path.parent, data)


def _kept_back(folder: Path, audit: Audit | None, distilled: DistilledSet) -> GateError:
    there = (folder / "audit" / "audit.json").is_file()
    missing = "the audit in it is of another set" if there else "it has not been audited"
    again = f"run `medistill audit {folder}` with the data of the run"
    first = again if audit is None else remedy(audit, distilled)
    return GateError(
        f"the set of {folder} is not shared: {missing if audit is None else verdict_sentence(audit)}",
        expected="an audit of this set that passes, by nothing laxer than the shipped thresholds (medistill audit)",
        do=f"{first}; or take it upon yourself with --acknowledge-risk and the reason, which recipients will read",
    )


def remedy(audit: Audit, distilled: DistilledSet) -> str:
    """What would help a set that its audit does not pass: another set, or what the audit lacked."""
    if any(one.asked in letters.LettersAttack.asks for one in _open(audit)):
        return (
            "look at every image, make the set anew with --set data.burnt_in_text=mask, which needs the extra "
            "medistill[ocr], and audit that"
        )
    if audit.verdict == "fail":
        return f"make another set{_otherwise(distilled)}, and audit that"
    told = [LACKING[one.asked.key] for one in _open(audit) if one.asked.key in LACKING]
    if laxer := [f"--set {one.setting}={one.shipped:g}" for one in audit.deviations if one.laxer]:
        told.append(f"audit it with {' '.join(laxer)}, as these settings are shipped")
    if not audit.trained:
        told.append("audit it without --quick")
    return (
        "; ".join(told)
        or "run `medistill audit RUN` anew with more to judge by: the reasons stand beside what was not judged"
    )


def _otherwise(distilled: DistilledSet) -> str:
    """By which settings another set may hold less of anybody: those alone that its recipe takes."""
    try:
        recipe = distilled.provenance.made_with("it")
    except MedistillError:
        return ""
    cells, ipc = recipe.method.quantisation, recipe.method.ipc
    epsilon = recipe.privacy.epsilon / 2 if recipe.privacy.mode == "dp" else 8.0
    ways = {
        "--set method.init=noise": ["method.init=noise"],
        "--set method.init=quantised (each image then begins as the mean of several patients')": [
            "method.init=quantised"
        ],
        **(
            {}
            if cells is None
            else {
                f"--set method.quantise.min_cluster_size={2 * cells.min_cluster_size} (each image is then the mean of "
                "so many patients' or more)": [f"method.quantise.min_cluster_size={2 * cells.min_cluster_size}"]
            }
        ),
        **({f"--ipc {ipc // 2}": [f"method.ipc={ipc // 2}"]} if ipc > 1 else {}),
        **({"--set method.labels=hard": ["method.labels=hard"]} if distilled.by_class else {}),
        f"--dp-epsilon {epsilon:g}": ["privacy.mode=dp", f"privacy.epsilon={epsilon}"],
    }
    taken = [words for words, overrides in ways.items() if _takes(recipe, overrides)]
    return f", for instance with {', '.join(taken[:-1])}{' or ' if taken[1:] else ''}{taken[-1]}" if taken else ""


def _takes(recipe: Recipe, overrides: list[str]) -> bool:
    """Whether a recipe may have these settings, and has others."""
    try:
        return override_recipe(recipe, overrides, "it").digest != recipe.digest
    except RecipeError:
        return False


def _not_sealed(folder: Path) -> GateError:
    return GateError(
        f"the set of {folder} is not shared: its audit was not made by this installation, or the audit, or what the "
        "set says of itself, was changed since",
        expected="an audit that passes, as `medistill audit` wrote it here",
        do=f"run `medistill audit {folder}` with the data of the run; or take it upon yourself with --acknowledge-risk "
        "and the reason, which recipients will read",
    )


def _open(audit: Audit) -> list[Criterion]:
    """The criteria that the set does not pass."""
    return [one for one in audit.criteria if one.verdict != "pass"]


def _report_of(folder: Path, set_digest: str) -> Report | None:
    """The report of this very set on its own corpus; None where it was not evaluated."""
    if not (folder / "evaluation" / "evaluation.json").is_file():
        return None
    report = read_report(folder)
    for evaluation in (report.evaluation, *report.across):
        if evaluation.set_digest != set_digest or evaluation.originals != "apart":
            raise GateError(
                f"the evaluation in {folder} cannot be shared as the set's own: "
                + (
                    "it is not on the corpus, split as it was, that the set was made from"
                    if evaluation.set_digest == set_digest
                    else "it does not say that it is of this set"
                ),
                expected="an evaluation of this set on the corpus, and the split, that it was made from",
                do="repeat the command of the run with --resume and the data that it began with, which evaluates anew; "
                f"or remove {folder / 'evaluation'} and {folder / 'across'}, and share the set without figures",
            )
    return report


def _dicom_objects(distilled: DistilledSet, audit: Audit | None) -> dict[str, bytes]:
    from medistill.sharing.dicom import dicom_files

    return dicom_files(distilled, None if audit is None else audit.text)
