"""A set as it was received: from a bundle, from its own folder, or from the folder of a run.

Whatever uses a set from outside opens it here, so that nothing is used that `verify` would refuse, and what is used are
the very bytes that were checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

from medistill.artifacts.atomic import read_bytes, read_json, sha256_file
from medistill.artifacts.distilled_set import DistilledSet
from medistill.encoders.projection_store import store_projection
from medistill.errors import ArtifactError
from medistill.evaluate.evaluation import Evaluation, load_evaluation
from medistill.evaluate.schedule_choice import Way
from medistill.privacy.audit import parse_audit
from medistill.recipe.limits import limits
from medistill.recipe.schedule import LEAST_PENALTY, MOST_PENALTY
from medistill.report.audit_statements import standing
from medistill.sharing.bundle import Bundle, evaluations_of
from medistill.sharing.croissant import TENSORS
from medistill.sharing.promise import check_promise
from medistill.sharing.public_key import PublicKey
from medistill.sharing.signer import demanded_keys, trusted_signer
from medistill.sharing.statement import sender_words
from medistill.sharing.statistics_claims import check_statistics
from medistill.training.penalty import Penalty
from medistill.workflow.audit_seal import RECORD, sealed_here


@dataclass(frozen=True)
class ReceivedSet:
    """A distilled set and what is known of its way here.

    Attributes:
        name: what it was named by.
        distilled: the set.
        set_digest: SHA-256 of its ``images.safetensors``.
        sender: who sent it, in the sender's own words; "" where not told.
        signer: fingerprint of the trusted key that signed it; None where no signature vouches for it.
        bundled: it came as a bundle, which is whole; a folder says nothing of its way.
        schedules: network in words -> the training on the set that did best on its maker's validation patients, as the
            report beside it says; empty where none was chosen, or the report is of another version.
        verdict: of the audit that the sender declares, or that lies in the run; "" where there is none of this set.
        risk: why it was sent without an audit that passes, in the sender's words; "" where that is not told.
    """

    name: str
    distilled: DistilledSet
    set_digest: str
    sender: str = ""
    signer: str | None = None
    bundled: bool = False
    schedules: Mapping[str, Way] = field(default_factory=dict)
    verdict: str = ""
    risk: str = ""

    @property
    def origin(self) -> str:
        """Who vouches for it, in a sentence."""
        if self.bundled:
            return f"{self.name} comes from {sender_words(self.sender, self.signer)}."
        return f"{self.name} is a folder, not a bundle: it is unverified, since no signature can vouch for it."


def open_received(bundle: str | Path, *, trust: Sequence[str] = (), today: date) -> tuple[Bundle, PublicKey | None]:
    """Open a bundle, and name the key that vouches for it. The file is read once.

    Args:
        bundle: the file.
        trust: names of known keys, or files of public keys, of which one must have signed the bundle.
        today: the day on which the key must still be good.

    Returns:
        The bundle, and the trusted key that signed it; None where it is not signed.

    Raises:
        UsageError: ``trust`` names something that is no key.
        ArtifactError: the bundle is refused: it is not whole, contradicts itself, or bears a signature that is wrong,
            by a key that is not known here, that has expired, or that is not the one demanded.
    """
    demanded = demanded_keys(trust)
    opened = Bundle.open(bundle)
    return opened, trusted_signer(bundle, opened, demanded, today)


def receive(source: str | Path, *, trust: Sequence[str] = (), today: date | None = None) -> ReceivedSet:
    """Read the set in a bundle (a file), in a folder of a set, or in the folder of a run, and check it.

    The public space that its class statistics are in, if it carries any, goes into the cache: a probe of the set's
    recipe needs it.

    Args:
        source: where it lies.
        trust: as for `open_received`; a folder, which bears no signature, is then refused.
        today: likewise; None takes the present day in UTC.

    Raises:
        UsageError: ``trust`` names something that is no key.
        ArtifactError: nothing of the kind is there, or it is refused.
    """
    path = Path(source)
    if path.is_file():
        bundle, key = open_received(source, trust=trust, today=today or datetime.now(UTC).date())
        _keep_space(bundle.distilled)
        said = bundle.manifest
        return ReceivedSet(
            str(source),
            bundle.distilled,
            said.files[TENSORS].sha256,
            said.sender,
            None if key is None else key.fingerprint,
            bundled=True,
            schedules=_schedules(evaluations_of(bundle.files)),
            verdict="" if said.audit is None else said.audit.verdict,
            risk=said.acknowledged_risk or "",
        )
    folder = set_folder(path)
    if trust:
        raise ArtifactError(
            f"{source} is a folder, and --trust was given",
            expected="a bundle that is signed by that key: a folder bears no signature",
            do="name the bundle as it came, or leave out --trust",
        )
    digest, found = sha256_file(folder / TENSORS), _evaluations_in(folder.parent) if folder.name == "set" else []
    of_set = [evaluation for evaluation in found if evaluation.set_digest == digest]
    distilled = DistilledSet.load(folder)
    check_promise(distilled.provenance, distilled)
    check_statistics(distilled.provenance, distilled)
    _keep_space(distilled)
    return ReceivedSet(
        str(source),
        distilled,
        digest,
        schedules=_schedules(of_set),
        verdict=_verdict_in(folder.parent, digest, distilled),
    )


def _keep_space(distilled: DistilledSet) -> None:
    if distilled.statistics is not None and distilled.statistics.projection.record.fitted:
        store_projection(distilled.statistics.projection)


def _verdict_in(run: Path, digest: str, distilled: DistilledSet) -> str:
    """How the audit in the folder of a run ended; "" where there is none of this set, or a pass that was not made
    here."""
    path = run / "audit" / RECORD
    with suppress(ArtifactError):
        data = read_bytes(path, "audit")
        found = parse_audit(data, path)
        if found.set_digest == digest and (standing(found) != "pass" or sealed_here(distilled, path.parent, data)):
            return standing(found)
    return ""


def _evaluations_in(run: Path) -> list[Evaluation]:
    """The evaluations in the folder of a run; one that is damaged, or of another version, tells nothing here."""
    found = []
    for place in (run, *sorted(run.glob("across/*"))):
        with suppress(ArtifactError):
            found.append(load_evaluation(place / "evaluation" / "evaluation.json"))
    return found


def _schedules(evaluations: Iterable[Evaluation]) -> dict[str, Way]:
    """How each network was trained on the set, where that was chosen and is nothing that takes a machine for days."""
    return {
        evaluation.network: choice.chosen
        for evaluation in evaluations
        for choice in evaluation.schedules
        if choice.arm == "distilled" and _bearable(choice.chosen)
    }


def _bearable(way: Way) -> bool:
    """Whether a way to train that somebody else states can be gone here."""
    if isinstance(way, Penalty):
        return LEAST_PENALTY <= way.penalty <= MOST_PENALTY
    return 0 < way.updates <= limits()["schedule.most_updates"] and way.batch_size > 0


def set_folder(source: Path) -> Path:
    """The folder of the set in a folder: itself, or that of the run.

    Raises:
        ArtifactError: it holds no set, or is a bundle that was unpacked.
    """
    for folder in (source, source / "set"):
        if (folder / "manifest.json").is_file():
            if read_json(folder / "manifest.json", "distilled set").get("kind") == "medistill bundle":
                raise ArtifactError(
                    f"{folder} is a bundle that was unpacked",
                    expected="the bundle as it came: only the whole file can be checked",
                    do="name the zip file itself",
                )
            return folder
    raise ArtifactError(
        f"{source} holds no distilled set" if source.exists() else f"there is no file or folder {source}",
        expected="a bundle, the folder of a set, or of a run whose set is finished",
        do="check the path; a run that was stopped goes on with `medistill distill` and --resume",
    )
