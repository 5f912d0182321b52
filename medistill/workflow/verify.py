"""Verify: is a bundle whole, who signed it, and what does its sender declare? Nothing is written."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medistill.artifacts.distilled_set import DistilledSet
from medistill.data.burnt_in_text import can_carry_letters
from medistill.errors import ArtifactError, UsageError
from medistill.privacy.accounting import Guarantee
from medistill.privacy.audit import MAKING, Audit
from medistill.privacy.letters import TextFigures
from medistill.privacy.spent import Spent
from medistill.recipe import UNITS
from medistill.report.audit_statements import deviations_sentence
from medistill.report.text_statements import originals_text, text_sentences
from medistill.report.wording import sentences
from medistill.sharing.bundle import Bundle
from medistill.sharing.claimed_epsilon import least_epsilon
from medistill.sharing.keys import find_key, keys_root, known_keys
from medistill.sharing.manifest import SIGNATURE, BundleManifest, Provenance, QuantisationRecord
from medistill.sharing.pages import unconfirmed_pages
from medistill.sharing.public_key import PublicKey
from medistill.sharing.signature import Signature

OFF = 1e-3
"""By how much a mean of weights may be off 1, or equal weights apart, by rounding."""
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
    """

    checks: tuple[Check, ...]
    signer: str | None
    fingerprint: str | None
    manifest: BundleManifest

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "accepted": True,
            "checks": [asdict(check) for check in self.checks],
            "signer": self.signer,
            "fingerprint": self.fingerprint,
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
    demanded = None if trust is None else _demanded(trust)
    opened = Bundle.open(bundle)
    manifest = opened.manifest
    signed = opened.files.get(SIGNATURE)
    signature = None if signed is None else Signature.from_bytes(signed)
    key = _signer(bundle, signature, demanded, today)
    count, *shape = manifest.set.shape
    held = sum(map(len, opened.files.values()))
    checks = (
        Check("Archive", "passed", f"{len(opened.files)} files, {held} bytes, laid out as medistill writes them"),
        Check("Files", "passed", "none missing, none added; the SHA-256 of each is the one in the manifest"),
        Check(
            "Distilled set",
            "passed",
            f"{count} images of {' x '.join(map(str, shape))}, {len(manifest.set.class_names)} classes; finite and "
            "within their ranges",
        ),
        *_quantisation_check(manifest, opened.distilled),
        _pages_check(unconfirmed_pages(opened)),
        _signature_check(key),
        *_declared(manifest, opened.audit),
    )
    return Verification(
        checks,
        signer=None if key is None else key.name,
        fingerprint=None if key is None else key.fingerprint,
        manifest=manifest,
    )


def _demanded(trust: str) -> PublicKey:
    """The key of that name, or the one in that file."""
    try:
        return find_key(keys_root(), trust)
    except UsageError:
        if not Path(trust).is_file():
            raise
        return PublicKey.of_file(Path(trust))


def _signer(
    bundle: str | Path, signature: Signature | None, demanded: PublicKey | None, today: date
) -> PublicKey | None:
    """The key that signed, if it may be trusted."""
    if signature is None:
        if demanded is None:
            return None
        raise ArtifactError(
            f"{bundle} is not signed, and --trust was given",
            expected=f"a signature by the key {demanded.name!r}",
            do="ask the sender to share it with --sign",
        )
    if demanded is not None and demanded.raw != signature.public_key:
        raise ArtifactError(
            f"{bundle} is signed by the key {signature.fingerprint}, which calls itself {signature.key_name!r}",
            expected=f"a signature by the key {demanded.name!r}, {demanded.fingerprint}",
            do="ask the sender which key signed it, by another way than the bundle came",
        )
    known = [one.key for one in known_keys(keys_root()) if one.key.raw == signature.public_key]
    key = demanded or (known[0] if known else None)
    if key is None:
        raise ArtifactError(
            f"{bundle} is whole, but signed by a key that is not known here: {signature.fingerprint}, which calls "
            f"itself {signature.key_name!r}",
            expected="the key of a sender whom you trust",
            do="ask the sender for the file of the key, compare the fingerprint by another way, such as the "
            "telephone, then `medistill keys trust FILE --as NAME`",
        )
    if key.expired(today):
        raise ArtifactError(
            f"{bundle} is signed by the key {key.name!r}, which expired on {key.expires}",
            expected="a key that is still good",
            do="ask the sender for the bundle signed anew, and for the new key",
        )
    return key


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
    """The guarantee; refused where its own noise, rate and steps do not give it."""
    name, privacy = "Differential privacy", manifest.privacy
    if privacy is None:
        return Check(name, "missing", "no formal guarantee")
    claim = Guarantee.from_json(manifest.provenance.differential_privacy or {})
    least = least_epsilon(claim)
    if least is not None and least > claim.epsilon:
        raise ArtifactError(
            f"the bundle states epsilon {claim.epsilon:.3g}; its own noise, rate and steps give {least:.3g} or more",
            expected="an epsilon that follows from them",
            do="do not rely on the guarantee; ask the sender how it was accounted",
        )
    follows = "not worked out again here" if least is None else "it follows from the noise, rate and steps declared"
    told = f"epsilon {claim.epsilon_text}, delta {claim.delta:.3g} for one {claim.unit}; {follows}"
    return Check(name, "declared", told)


def _spent_check(manifest: BundleManifest) -> tuple[Check, ...]:
    """What the sender's ledger says of all releases from the same people; refused where it cannot be."""
    record, privacy = manifest.provenance.privacy_spent, manifest.privacy
    if privacy is None:
        return ()
    if record is None:
        return (Check("Spent in all", "missing", "whether other sets were released from the same people is not said"),)
    spent = Spent.from_json(record.model_dump())
    alone = spent.releases == 1 and (spent.epsilon, spent.delta) == (privacy.epsilon, privacy.delta)
    together = spent.releases > 1 and spent.delta >= (spent.others_delta + privacy.delta) * (1 - OFF)
    if not alone and not together:
        raise ArtifactError(
            "what the bundle says was spent in all does not fit to what it says of this set and of those before it",
            expected="the epsilon and delta of this set, or a delta that is their sum",
            do="do not rely on the guarantee; ask the sender how it was accounted",
        )
    return (Check("Spent in all", "declared", spent.sentence),)


def _quantisation_check(manifest: BundleManifest, distilled: DistilledSet) -> tuple[Check, ...]:
    """Of how many patients an image is said to be the mean; refused where the set is not what is said of it."""
    known, name = manifest.provenance.quantisation, "Quantisation"
    if known is None and manifest.provenance.starts_from == "quantised":
        return (
            Check(name, "missing", "the images are, or began as, means of patients' images; of how many is not said"),
        )
    if known is None:
        return ()
    seen = _unlike(manifest.provenance, known, distilled)
    if seen:
        raise ArtifactError(
            f"what the bundle says of its images as means of patients' images cannot be: {seen}",
            expected="a set as medistill quantises it",
            do="do not rely on it; ask the sender for the set as it was made",
        )
    unit = UNITS[manifest.provenance.split_unit or "patient"]
    told = f"each image is, or began as, a mean of {known.smallest_cluster} {unit} or more; it agrees with itself"
    return (Check(name, "declared", told),)


def _unlike(provenance: Provenance, known: QuantisationRecord, distilled: DistilledSet) -> str:
    """What of a statement on quantised images the set itself contradicts; empty where nothing does."""
    if provenance.starts_from != "quantised":
        return f"the images began as {provenance.starts_from or 'it does not say what'}"
    if known.smallest_cluster < known.min_cluster_size:
        return f"a mean of {known.smallest_cluster}, where {known.min_cluster_size} were the fewest"
    if known.labels is not None and (known.labels == "soft") != (distilled.soft_labels is not None):
        return f"labels are said to be {known.labels}"
    settings = (provenance.recipe or {}).get("quantise")
    asked = settings if isinstance(settings, dict) and provenance.sources is None else {}
    for name in ("encoder", "min_cluster_size", "weights", "temperature", "teachers", "decoder"):
        stated = getattr(known, name)
        if stated is not None and name in asked and asked[name] != stated:
            return f"{name} is said to be {stated}, and {str(asked[name])[:64]} in the recipe"
    if known.weights is None or provenance.sources is not None:
        return ""
    of_class = [distilled.weights[distilled.labels == label] for label in np.unique(distilled.labels)]
    if known.weights == "uniform" and any(np.ptp(weights) > OFF for weights in of_class):
        return "weights are said to be uniform, and differ within a class"
    if abs(float(distilled.weights.mean(dtype=np.float64)) - 1) > OFF:
        return "the mean of the weights is not 1"
    if asked.get("priors") == "equal" and np.ptp([weights.sum(dtype=np.float64) for weights in of_class]) > OFF * len(
        distilled.weights
    ):
        return "classes are said to weigh alike, and do not"
    return ""


def _text_check(manifest: BundleManifest, text: TextFigures | None) -> Check:
    """Whether text was looked for in originals and set, as the sender says; missing where one of both was not."""
    name, side = "Burnt-in text", min(manifest.set.shape[2:])
    check = manifest.provenance.text_check
    if text is not None:
        looked = text.originals_cleared and bool(text.reader or not text.legible)
        return Check(name, "declared" if looked else "missing", sentences(*text_sentences(text)))
    if not can_carry_letters(side, side):
        return Check(name, "passed", f"images of {side} pixels cannot carry letters")
    policy, by = ("", "") if check is None else (check.policy, check.by or "")
    return Check(name, "missing", f"{originals_text(policy, by)} The set was not read for letters.")


def _audit_checks(audit: Audit | None) -> tuple[Check, ...]:
    """The verdict that is declared, and its settings beside those that this version ships, which no sender can hide."""
    if audit is None:
        return (Check("Audit", "missing", "none"),)
    told = deviations_sentence(audit) or "no threshold is laxer, and no attack weaker, than what this version ships"
    laxer = any(one.laxer for one in audit.deviations)
    making = next((one for one in audit.criteria if one.name == MAKING), None)
    known = making is not None and making.verdict == "pass"
    short = "; but by less than this version asks for" if audit.verdict == "pass" and not audit.passed else ""
    seen = "the sender's audit saw the run that made it" if known else "the audit tells of the method, not of this set"
    return (
        Check("Audit", "declared", f"{audit.verdict}, of the set in this bundle{short}"),
        Check("Settings of the audit", "missing" if laxer else "declared", f"{'LAXER: ' if laxer else ''}{told}"),
        Check("Making of the set", "declared" if known else "missing", seen),
    )


def _declared(manifest: BundleManifest, audit: Audit | None) -> tuple[Check, ...]:
    """What nothing here can tell the truth of."""
    risk = manifest.acknowledged_risk
    return (
        *_audit_checks(audit),
        _privacy_check(manifest),
        *_spent_check(manifest),
        _text_check(manifest, None if audit is None else audit.text),
        *(
            Check(
                "United from", "declared", f"{source.images} images of {source.sender or 'unnamed'}: {source.privacy}"
            )
            for source in manifest.provenance.sources or ()
        ),
        *(() if risk is None else (Check("Acknowledged risk", "declared", risk),)),
        Check("Sender", "declared" if manifest.sender else "missing", manifest.sender or "does not say"),
        Check("Intended use", "declared", manifest.intended_use),
        Check("Licence", "declared", manifest.licence),
    )
