"""Verify: is a bundle whole, who signed it, and what does its sender declare? Nothing is written."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

from medistill.artifacts.class_statistics import ClassStatistics
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.provenance import MergedPart
from medistill.data.burnt_in_text import can_carry_letters, too_small_for_letters
from medistill.encoders.presence import has_encoder
from medistill.privacy.accounting import Guarantee
from medistill.privacy.audit import MAKING, Audit
from medistill.privacy.findings import AttackFindings, findings
from medistill.privacy.letters import TextFigures
from medistill.privacy.spent import Spent
from medistill.recipe import UNITS
from medistill.report.attack_words import UNASKED, verdict_word
from medistill.report.audit_statements import deviations_sentence
from medistill.report.text_statements import originals_text, text_sentences
from medistill.report.tile_statements import tile_sentence
from medistill.report.wording import sentences
from medistill.sharing.claimed_epsilon import least_epsilon
from medistill.sharing.manifest import BundleManifest
from medistill.sharing.pages import unconfirmed_pages
from medistill.sharing.privacy_statement import PrivacyStatement
from medistill.sharing.public_key import PublicKey
from medistill.sharing.statement import sender_words
from medistill.workflow.received import open_received

State = Literal["passed", "declared", "missing"]
"""Passed: checked here. Declared: the sender says so, and nothing here can tell. Missing: there is none."""
NOT_SHOWN = (
    "that what the sender declares is true: the audit, the guarantee of privacy and the origin of the images are "
    "claims, which a signature ties to a key and nothing more",
    "that the set is of use for your patients: evaluate it on images of your own",
    "that nobody can be told from the images: a set is shareable at a risk that its sender judged, and no more",
)
"""What a verified bundle does not show."""


@dataclass(frozen=True)
class Check:
    """One line of the table: what was looked at, what came of it, and the words for it."""

    name: str
    state: State
    told: str


@dataclass(frozen=True)
class Verification:
    """A bundle that was not refused.

    Attributes:
        checks: in the order in which they were made.
        signer: name of the key here, or none where the bundle is not signed.
        fingerprint: of that key.
        manifest: what the sender declares.
        findings: what every attack of the declared audit found; empty where there is none.
        statement: the same for programs, held to the audit and the guarantee; None where a former version wrote none.
    """

    checks: tuple[Check, ...]
    signer: str | None
    fingerprint: str | None
    manifest: BundleManifest
    findings: tuple[AttackFindings, ...]
    statement: PrivacyStatement | None

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "accepted": True,
            "checks": [asdict(check) for check in self.checks],
            "signer": self.signer,
            "fingerprint": self.fingerprint,
            "privacy": None if self.statement is None else self.statement.as_json(),
            "not_shown": list(NOT_SHOWN),
        }


def verify(bundle: str | Path, *, trust: str | None = None, today: date) -> Verification:
    """Check a bundle: archive, hashes, schema, ranges, signature; and tell what it declares.

    A bundle without a signature is told of, not refused, unless ``trust`` is given. A signature that is there must be
    right, and by a key that is known here and has not expired.

    Args:
        bundle: the file.
        trust: name of a known key, or the file of a public key, by which the bundle must be signed.
        today: the day on which the key must still be good.

    Raises:
        UsageError: ``trust`` names no key.
        ArtifactError: the bundle is refused.
    """
    opened, key = open_received(bundle, trust=() if trust is None else (trust,), today=today)
    manifest = opened.manifest
    count, *shape = manifest.set.shape
    held = sum(map(len, opened.files.values()))
    found = () if opened.audit is None else findings(opened.audit)
    checks = (
        Check("Archive", "passed", f"{len(opened.files)} files, {held} bytes, laid out as medistill writes them"),
        Check("Files", "passed", "none missing, none added; the SHA-256 of each is the one in the manifest"),
        Check(
            "Distilled set",
            "passed",
            f"{count} images of {' x '.join(map(str, shape))}, {len(manifest.set.class_names)} classes; finite and "
            "within their ranges",
        ),
        *_tile_check(opened.distilled),
        *_quantisation_check(manifest),
        *_patches_check(manifest),
        *_statistics_check(opened.distilled.statistics),
        *_encoder_check(manifest),
        *_teacher_check(manifest),
        _pages_check(unconfirmed_pages(opened)),
        _signature_check(key),
        *_declared(manifest, opened.audit, key),
        _statement_check(opened.statement, found),
    )
    return Verification(
        checks,
        signer=None if key is None else key.name,
        fingerprint=None if key is None else key.fingerprint,
        manifest=manifest,
        findings=found,
        statement=opened.statement,
    )


def _statement_check(statement: PrivacyStatement | None, found: tuple[AttackFindings, ...]) -> Check:
    """What the bundle says of its privacy for programs, which `Bundle.open` has held to audit and guarantee."""
    name = "Privacy statement"
    if statement is None:
        return Check(name, "missing", "none: the version that wrote the bundle did not write any")
    told = [verdict_word(finding) for attack in found for finding in attack.findings]
    unasked = f", {told.count(UNASKED)} not asked" if UNASKED in told else ""
    tried = f"{len(found)} attacks, {told.count('fail')} of {len(told)} figures fail{unasked}" if told else "none"
    return Check(name, "declared", f"attacks: {tried}; figure by figure what audit and guarantee beside it say")


def _tile_check(distilled: DistilledSet) -> tuple[Check, ...]:
    """That the images can be cut into their tiles, and what networks are shown then."""
    told = tile_sentence(distilled.tiles, distilled.shown)
    return (Check("Tiles", "passed", f"{told} The factor is that of its recipe, where it has one"),) if told else ()


def _statistics_check(statistics: ClassStatistics | None) -> tuple[Check, ...]:
    """That class statistics are whole; that noise is on them is the sender's word."""
    if statistics is None:
        return ()
    record = statistics.record
    told = f"of {len(record.class_names)} classes, {statistics.projection.dimension} numbers each; finite"
    said = (
        f"one {record.unit}'s part is bounded and has noise of {min(record.sums_noise):.3g} on it, {record.releases} "
        f"release{'s' if record.releases > 1 else ''}"
        f"{'' if all(record.counts_noise) else '; counts without noise are numbers that the sender calls public'}"
    )
    return (Check("Class statistics", "passed", told), Check("Their noise", "declared", said))


def _signature_check(key: PublicKey | None) -> Check:
    if key is None:
        return Check("Signature", "missing", "nobody vouches for it: whoever had the file could have made another")
    last = "without end" if key.expires is None else f"until {key.expires}"
    return Check("Signature", "passed", f"by {key.name}, {key.fingerprint}, good {last}")


def _pages_check(unconfirmed: tuple[str, ...]) -> Check:
    if not unconfirmed:
        return Check("Pages", "passed", "data card, pictures and report are what medistill writes of these records")
    return Check(
        "Pages",
        "declared",
        f"{', '.join(unconfirmed)}: not as this medistill writes them; another version did, or another hand, and a "
        "browser runs what a page holds. Do not open them unless you trust the sender",
    )


def _privacy_check(manifest: BundleManifest) -> Check:
    """The guarantee, which `Bundle.open` refuses where its own noise, rate and steps do not give it."""
    name = "Differential privacy"
    if manifest.privacy is None:
        return Check(name, "missing", "no formal guarantee")
    claim = Guarantee.from_json(manifest.provenance.differential_privacy or {})
    least = least_epsilon(claim)
    follows = "not worked out again here" if least is None else "it follows from the noise, rate and steps declared"
    told = f"epsilon {claim.epsilon_text}, delta {claim.delta:.3g} for one {claim.unit}; {follows}"
    return Check(name, "declared", told)


def _spent_check(manifest: BundleManifest) -> tuple[Check, ...]:
    """What the sender's ledger says of all releases from the same people."""
    record = manifest.provenance.privacy_spent
    if manifest.privacy is None:
        return ()
    if record is None:
        return (Check("Spent in all", "missing", "whether other sets were released from the same people is not said"),)
    return (Check("Spent in all", "declared", Spent.from_json(record.as_json()).sentence),)


def _quantisation_check(manifest: BundleManifest) -> tuple[Check, ...]:
    """Of how many patients an image is said to be the mean; `Bundle.open` refuses what the set contradicts."""
    known, name = manifest.provenance.quantisation, "Quantisation"
    if known is None and manifest.provenance.starts_from == "quantised":
        return (
            Check(name, "missing", "the images are, or began as, means of patients' images; of how many is not said"),
        )
    if known is None:
        return ()
    unit = UNITS[manifest.provenance.split_unit or "patient"]
    told = f"each image is, or began as, a mean of {known.smallest_cluster} {unit} or more; it agrees with itself"
    return (Check(name, "declared", told),)


def _patches_check(manifest: BundleManifest) -> tuple[Check, ...]:
    """Of how many originals parts are said to be in the images."""
    known, name = manifest.provenance.patched, "Patches"
    if manifest.provenance.starts_from != "patches":
        return ()
    if known is None:
        return (Check(name, "missing", "the images are parts of patients' images; of how many is not said"),)
    unit = UNITS[manifest.provenance.split_unit or "patient"]
    told = f"the images are unchanged parts of {known.originals} original images, of {known.groups} {unit}"
    return (Check(name, "declared", told),)


def _encoder_check(manifest: BundleManifest) -> tuple[Check, ...]:
    """Which encoder the images are said to be made for, and whether it is on this machine."""
    known = manifest.provenance.encoder
    if known is None:
        return ()
    here = "it is here" if has_encoder(known.sha256) else f"it is not here, and not in the bundle; from {known.source}"
    told = f"{known.words}; trained on {known.trained_on}; licence {known.licence}; {here}"
    return (Check("Encoder", "declared", told),)


def _teacher_check(manifest: BundleManifest) -> tuple[Check, ...]:
    """Whose features the target vectors are said to come from; `Bundle.open` refuses what the set contradicts."""
    known = manifest.provenance.teacher
    if known is None:
        return ()
    told = f"{known.words}; trained on {known.trained_on}; licence {known.licence}; nobody needs it to use the set"
    return (Check("Teacher", "declared", told),)


def _text_check(manifest: BundleManifest, text: TextFigures | None) -> Check:
    """Whether text was looked for in originals and set, as the sender says; missing where one of both was not."""
    name, side = "Burnt-in text", min(manifest.set.shape[2:])
    check = manifest.provenance.text_check
    if text is not None:
        looked = text.originals_cleared and bool(text.reader or not text.legible)
        return Check(name, "declared" if looked else "missing", sentences(*text_sentences(text)))
    if not can_carry_letters(side, side):
        return Check(name, "passed", f"not looked for: {too_small_for_letters(str(side))}")
    policy, by = ("", "") if check is None else (check.policy, check.by or "")
    return Check(name, "missing", f"{originals_text(policy, by)} The set was not read for letters.")


def _audit_checks(audit: Audit | None) -> tuple[Check, ...]:
    """The verdict that is declared, and its settings beside those that this version ships, which no sender can hide."""
    if audit is None:
        return (Check("Audit", "missing", "none"),)
    told = deviations_sentence(audit) or "no threshold is laxer, and no attack weaker, than what this version ships"
    laxer = any(one.laxer for one in audit.deviations)
    making = next((one for one in audit.criteria if one.asked == MAKING), None)
    known = making is not None and making.verdict == "pass"
    short = "; but by less than this version asks for" if audit.verdict == "pass" and not audit.passed else ""
    seen = "the sender's audit saw the run that made it" if known else "the audit tells of the method, not of this set"
    return (
        Check("Audit", "declared", f"{audit.verdict}, of the set in this bundle{short}"),
        Check("Settings of the audit", "missing" if laxer else "declared", f"{'LAXER: ' if laxer else ''}{told}"),
        Check("Making of the set", "declared" if known else "missing", seen),
    )


def _declared(manifest: BundleManifest, audit: Audit | None, key: PublicKey | None) -> tuple[Check, ...]:
    """What nothing here can tell the truth of."""
    risk = manifest.acknowledged_risk
    return (
        *_audit_checks(audit),
        _privacy_check(manifest),
        *_spent_check(manifest),
        _text_check(manifest, None if audit is None else audit.text),
        *(
            Check(
                "United from",
                "declared",
                f"{source.images} images of {_sender(source, key)}: {_promised(source)}",
            )
            for source in manifest.provenance.sources or ()
        ),
        *(() if risk is None else (Check("Acknowledged risk", "declared", risk),)),
        Check("Sender", "declared", sender_words(manifest.sender, None if key is None else key.fingerprint))
        if manifest.sender
        else Check("Sender", "missing", "does not say"),
        Check("Intended use", "declared", manifest.intended_use),
        Check("Licence", "declared", manifest.licence),
    )


def _promised(source: MergedPart) -> str:
    """How the audit ended that came with it, and what its sender promised."""
    return source.privacy if source.audit is None else f"audit: {source.audit}; {source.privacy}"


def _sender(source: MergedPart, key: PublicKey | None) -> str:
    """A sender in a united set: that a key vouched for it, is believed of a signed bundle alone."""
    return sender_words(source.sender, None if key is None else source.signer)
