"""The audit as it leaves: ``audit.json``, and whether its verdict follows from what it says that it found."""

from __future__ import annotations

import json
from collections.abc import Mapping

from medistill.artifacts.atomic import parse_json
from medistill.errors import ArtifactError
from medistill.privacy.attack_registry import all_attacks
from medistill.privacy.audit import Audit, audit_from_json
from medistill.privacy.findings import contradicted, disowned
from medistill.privacy.former_audit import asks_otherwise, brought_up
from medistill.privacy.gate import decide, declared
from medistill.sharing.manifest import AuditRecord
from medistill.visible import json_text


def audit_record(audit: Audit) -> AuditRecord:
    """What the manifest says of an audit."""
    return AuditRecord(verdict=audit.verdict, set_digest=audit.set_digest, thresholds=dict(audit.thresholds))


def json_bytes(value: Mapping[str, object]) -> bytes:
    """A record as the files of a bundle hold it."""
    return f"{json_text(value)}\n".encode()


def audit_bytes(audit: Audit) -> bytes:
    """What ``audit.json`` holds."""
    return json_bytes(audit.as_json())


def audit_of_bytes(data: bytes) -> Audit:
    """The inverse of `audit_bytes`.

    Raises:
        ArtifactError: not an audit, or its verdict is not the one that its own figures give.
    """
    stored = parse_json(data, "audit.json", "audit of the bundle")
    audit = audit_from_json(stored, "audit.json")
    if json.loads(audit_bytes(audit)) != brought_up(stored):
        raise _refused("it holds more than an audit, or another kind of value")
    if audit.verdict != decide(audit.criteria):
        raise _refused(f"it says {audit.verdict!r}, and its criteria give {decide(audit.criteria)!r}")
    kinds = declared()
    told = [(one, asks_otherwise(one.name, one.asked.bound, one.asked.setting)) for one in audit.criteria]
    if any(otherwise or one.contradicted(audit.thresholds, kinds) for one, otherwise in told):
        raise _refused("a criterion was held against another threshold than the one that it tells")
    if any(one.verdict == "pass" and not one.can_pass for one in audit.criteria):
        raise _refused("a criterion passes whose figure does not")
    _check_attacks(audit)
    return audit


def _check_attacks(audit: Audit) -> None:
    """Refuse criteria that tell another figure than their attack found, that their attack does not ask, or that tell
    under another name what an attack found."""
    asks = {attack.name: attack.asks for attack in all_attacks()}
    if any(one.asked not in asks.get(one.attack, (one.asked,)) for one in audit.criteria):
        raise _refused("a criterion names an attack that does not ask for it")
    try:
        otherwise, renamed = contradicted(audit), disowned(audit)
    except (OverflowError, TypeError, ValueError):  # numbers that no attack gives
        raise _refused("a figure is out of range") from None
    if otherwise:
        raise _refused("a criterion tells another figure than its attack found")
    if renamed:
        raise _refused("a criterion is under no attack that is known, and what such an attack found has none")


def _refused(why: str) -> ArtifactError:
    return ArtifactError(why, expected="an audit as `medistill audit` writes it", do="audit the set again")
