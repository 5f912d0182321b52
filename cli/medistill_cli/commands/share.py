"""`medistill share`: put the set of a run into a bundle that may leave the house."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medistill_cli import options
from medistill_cli.clock import today
from medistill_cli.passphrase import ask_passphrase
from medistill_cli.results import print_facts, print_json, print_next, print_written
from medistill_cli.working import working

if TYPE_CHECKING:
    from medistill.sharing.bundle import Bundle
    from medistill.sharing.keys import SigningKey
    from medistill.sharing.manifest import BundleManifest


def share(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run that was audited, or of a set.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The bundle; a file that is new.")] = Path(
        "bundle.zip"
    ),
    licence: Annotated[
        str,
        typer.Option(
            "--licence",
            "--license",
            metavar="SPDX|TEXT",
            help="Under which others may use the set. It is yours to choose, so there is no default.",
            show_default=False,
        ),
    ] = "",
    intended_use: Annotated[
        str,
        typer.Option(
            "--intended-use",
            metavar="TEXT",
            help="What the set may be used for, in a sentence; needed.",
            show_default=False,
        ),
    ] = "",
    sender: Annotated[
        str,
        typer.Option(
            "--sender", metavar="TEXT", help="Who sends it, as recipients should read it. Left out: not told."
        ),
    ] = "",
    sign: Annotated[
        str | None,
        typer.Option(
            "--sign",
            metavar="NAME",
            help="Sign with this key of `medistill keys`. Left out: not signed.",
            show_default=False,
        ),
    ] = None,
    dicom: Annotated[
        bool,
        typer.Option("--dicom", help="Put the images in as DICOM objects too. Needs the extra medistill[dicom]."),
    ] = False,
    acknowledge_risk: Annotated[
        str | None,
        typer.Option(
            "--acknowledge-risk",
            metavar="REASON",
            help="Share a set without a passing audit, for this reason, which recipients read.",
            show_default=False,
        ),
    ] = None,
    month: Annotated[bool, typer.Option("--month", help="Tell the month. Left out: no date is told.")] = False,
    json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Pack the set of a run into one file that may leave.

    A bundle is one file: images, labels, previews, a data card, what the audit and the report say, and a manifest
    with the SHA-256 of each. It holds neither real images nor names of patients, folders or sites, and the same run
    gives the same bytes again. Without a passing audit of this set nothing is written (exit code 4).

    \b
    Examples:
      medistill share medistill-run --licence CC-BY-4.0 --intended-use "Research; not for diagnosis"
      medistill share medistill-run --licence CC-BY-4.0 --intended-use "Research" --sign st-example --out st.zip
      medistill share medistill-run --licence CC0-1.0 --intended-use "Tests" --acknowledge-risk "phantoms only"
    """
    key = _key(sign) if sign is not None else None
    with working("anew") as progress:
        from medistill.workflow.share import share as share_run

        bundle = share_run(
            run,
            out=out,
            licence=licence,
            intended_use=intended_use,
            sender=sender,
            acknowledged_risk=acknowledge_risk,
            month=f"{today():%Y-%m}" if month else None,
            dicom=dicom,
            key=key,
            progress=progress,
        )
    manifest = bundle.manifest
    if json:
        print_json({"bundle": str(out), "signed_by": sign, "manifest": manifest.as_json()})
        return
    print_facts(_facts(bundle, sign))
    print_written({"bundle": out})
    print_next([(["medistill", "verify", str(out)], "what the recipient checks")])


def _key(name: str) -> SigningKey:
    from medistill.sharing.keys import is_locked, keys_root, load_private

    root = keys_root()
    return load_private(root, name, ask_passphrase(name) if is_locked(root, name) else None, today=today())


def _spent(manifest: BundleManifest) -> list[tuple[str, str]]:
    """What was spent in all on the same people, where that is more than this set."""
    spent = manifest.provenance.privacy_spent
    if spent is None or spent.releases == 1:
        return []
    from medistill.privacy.accounting import rounded_up

    amount = "cannot be stated"
    if spent.epsilon is not None:
        amount = f"epsilon {rounded_up(spent.epsilon)}, delta {spent.delta:.3g}"
    return [("Spent in all on these people", f"{amount}, by {spent.releases} releases")]


def _facts(bundle: Bundle, sign: str | None) -> list[tuple[str, str]]:
    """What a sender should see before the bundle goes."""
    manifest, tiles = bundle.manifest, bundle.distilled.tiles
    privacy, audit = manifest.privacy, manifest.audit
    formal = (
        "none" if privacy is None else f"epsilon {privacy.epsilon:.3g}, delta {privacy.delta:.3g} per {privacy.unit}"
    )
    cut = f", each {tiles} by {tiles} tiles" if tiles > 1 else ""
    facts = [
        ("Images", f"{manifest.set.shape[0]} in {len(manifest.set.class_names)} classes{cut}"),
        ("Audit", "none" if audit is None else audit.verdict),
        ("Formal privacy guarantee", formal),
        *_spent(manifest),
        ("Licence", manifest.licence),
        ("Signed by", "nobody; add --sign" if sign is None else sign),
    ]
    return [
        *facts,
        *([] if manifest.acknowledged_risk is None else [("Risk acknowledged", manifest.acknowledged_risk)]),
    ]
