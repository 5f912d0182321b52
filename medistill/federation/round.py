"""A round: what the server does with what sites send. It asks for sets, unites them, trains, and asks for figures.

It needs nothing of the engine: pieces come and go, and every site that falls out is named and left behind.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medistill.artifacts.atomic import private_folder, write_bytes, write_json, write_text
from medistill.artifacts.classifier import PREPROCESSING as PREPROCESSING_FILE
from medistill.artifacts.classifier import WEIGHTS as WEIGHTS_FILE
from medistill.artifacts.classifier import Classifier
from medistill.errors import ArtifactError, DataError, MedistillError
from medistill.federation.figures import tells_too_much
from medistill.federation.messages import (
    BUNDLE,
    PREPROCESSING,
    WEIGHTS,
    WORDS,
    Answer,
    HomeRequest,
    MakeRequest,
    Parcel,
    message,
    opened,
    own_version,
)
from medistill.federation.record import FederatedRound, SiteOutcome
from medistill.federation.round_page import round_html, round_markdown
from medistill.privacy.accounting import Guarantee
from medistill.progress import Progress, Silent
from medistill.recipe import Recipe, validate_recipe
from medistill.recipe.load import parse_toml
from medistill.sharing.keys import find_key, keys_root
from medistill.sharing.manifest import BundleManifest
from medistill.sharing.merge_source import MergeSource
from medistill.sharing.merging import merge_sets
from medistill.sharing.outgoing import outgoing_recipe
from medistill.workflow.received import ReceivedSet, receive
from medistill.workflow.train_classifier import train_classifier
from medistill.workflow.verify import verify

RECORD, PAGE, BRIEF = "exchange.json", "exchange.html", "exchange.md"
CLASSIFIER, UNITED = "classifier", "united"
SILENT = "it did not answer, or was lost on the way"
BROKEN = "what it answered is no answer of this version of medistill"


class Round:
    """One exchange, on the server."""

    def __init__(
        self, text: str, sites: Sequence[str], folder: Path, *, device: str = "auto", progress: Progress = Silent()
    ) -> None:
        """Begin a round. A site whose key the server does not trust under the site's own name is left out at once.

        Args:
            text: the recipe, TOML.
            sites: names, as the engine knows them.
            folder: of all that comes of the round.
            device: to train on.
            progress: told who falls out.

        Raises:
            RecipeError: the recipe cannot be used.
        """
        self.text, self.folder, self.device, self.progress = text, private_folder(folder), device, progress
        self.recipe: Recipe = validate_recipe(parse_toml(text, "the job's recipe"), "the job's recipe")
        self.sha256 = hashlib.sha256(text.encode()).hexdigest()
        self.sites = {name: SiteOutcome(name=name) for name in sites}
        self.sets: dict[str, ReceivedSet] = {}
        self.classifier: Classifier | None = None
        for name in sites:
            try:
                find_key(keys_root(), name)
            except MedistillError:
                self._leave_out(name, "the server trusts no key of that name")

    @property
    def asked(self) -> list[str]:
        """Sites that take part in what comes next."""
        return [name for name, site in self.sites.items() if site.connected]

    def request(self) -> dict[str, bytes]:
        """The pieces that ask for a set."""
        return message(MakeRequest(protocol=1, medistill=own_version(), recipe=self.text))

    def take_set(self, site: str, received: object) -> None:
        """Check what a site answered; a bundle that stands every check joins the others.

        Args:
            site: who sent it, as the engine vouches for.
            received: what the engine handed over; None where the site was lost.
        """
        answer = self._answer(site, received)
        if answer is None:
            return
        if answer.code != "done":
            self._leave_out(site, _why(answer), connected=answer.code == "gate")
            return
        try:
            parcel = opened(received, site, BUNDLE)
            self.sets[site], manifest = self._checked_set(site, parcel)
        except MedistillError as error:
            self._leave_out(site, f"its bundle was refused: {self._words(error, site)}", connected=True)
            return
        self._note(site, **_set_facts(self.sets[site], manifest))

    def conclude(self) -> dict[str, bytes]:
        """Unite the sets, train on them, and return the pieces that ask for a test.

        Raises:
            DataError: no set arrived.
            MedistillError: the classifier could not be trained.
        """
        if not self.sets:
            raise DataError(
                "no set arrived that could be used", expected="one at least", do="see the report for each site's reason"
            )
        out, received = self.folder / CLASSIFIER, list(self.sets.values())
        if len(received) == 1:
            [only] = received
            distilled, signer, schedules = only.distilled, only.signer, only.schedules
        else:
            distilled, signer, schedules = merge_sets([_source(one) for one in received]), None, {}
            distilled.save(private_folder(self.folder / UNITED))
        self.classifier = train_classifier(
            distilled,
            self.recipe,
            out=out,
            signer=signer,
            schedules=schedules,
            device=self.device,
            progress=self.progress,
        )
        head = HomeRequest(protocol=1, medistill=own_version(), recipe_sha256=self.sha256)
        pieces = {WEIGHTS: (out / WEIGHTS_FILE).read_bytes(), PREPROCESSING: (out / PREPROCESSING_FILE).read_bytes()}
        return message(head, **pieces)

    def take_figures(self, site: str, received: object) -> None:
        """Check the figures that a site tells; none are taken that tell of fewer patients than all agreed to."""
        answer = self._answer(site, received, "figures_reason")
        if answer is None:
            return
        if answer.code != "done" or answer.figures is None:
            self._note(site, figures_reason=_why(answer) if answer.code != "done" else BROKEN)
        elif tells_too_much(answer.figures, self.recipe):
            self._note(site, figures_reason="it told more than all sites agreed to, and nothing of it was kept")
        else:
            self._note(site, figures=answer.figures)

    def write(self, failure: str = "") -> FederatedRound:
        """Write the report: for programs, as a page and in brief.

        Args:
            failure: why there is no classifier; empty where there is one.
        """
        record = FederatedRound.of(self.recipe, self.sha256, tuple(self.sites.values()), self.classifier, failure)
        write_json(self.folder / RECORD, record.as_json())
        write_text(self.folder / PAGE, round_html(record))
        write_text(self.folder / BRIEF, round_markdown(record))
        return record

    def _answer(self, site: str, received: object, field: str = "reason") -> Answer | None:
        """The head of what a site answered; None, and the site is named, where it is none of this version."""
        why = SILENT
        if received is not None:
            try:
                parcel = opened(received, site)
                if parcel.same_version:
                    return Answer.from_json(parcel.head, f"the answer of {site}")
                why = WORDS["other version"]
            except ArtifactError:
                why = BROKEN
        if field == "reason":
            self._leave_out(site, why)
        else:
            self._note(site, **{field: why})
        return None

    def _checked_set(self, site: str, parcel: Parcel) -> tuple[ReceivedSet, BundleManifest]:
        """The set in a bundle: whole, signed by the key that bears the site's name, by the recipe, fit for the others.

        Raises:
            MedistillError: with what is wrong.
        """
        path = private_folder(self.folder / "bundles") / f"{site}.zip"
        write_bytes(path, parcel.files[BUNDLE], private=True)
        manifest = verify(path, trust=site, today=datetime.now(UTC).date()).manifest
        received = replace(receive(path, trust=[site]), name=site)
        made, agreed = received.distilled, outgoing_recipe(self.recipe.model_dump(mode="json"))
        if agreed is None or made.provenance.recipe_digest != validate_recipe(agreed, "the job's recipe").digest:
            raise DataError(
                f"the set of {site} was made by another recipe", expected="the recipe of the job", do="make it again"
            )
        data = self.recipe.data
        shape = (data.channels, data.image_size, data.image_size)
        if made.images.shape[1:] != shape or made.class_names != data.classes:
            raise DataError(
                f"the set of {site} has other classes or images than its recipe asks for",
                expected=f"{', '.join(data.classes)}, in images of {' x '.join(map(str, shape))}",
                do="make it again",
            )
        if self.sets:
            merge_sets([_source(one) for one in (*self.sets.values(), received)])  # refused here, not later
        return received, manifest

    def _words(self, error: MedistillError, site: str) -> str:
        """What was wrong, with the site's name in place of the server's folders."""
        return error.seen.replace(str(self.folder / "bundles" / f"{site}.zip"), f"the bundle of {site}")

    def _leave_out(self, site: str, reason: str, *, connected: bool = False) -> None:
        """Name a site that gives no set; one that is connected still gets the classifier."""
        self._note(site, reason=reason, connected=connected)
        self.progress.say(f"{site} gives no set, because {reason}.")

    def _note(self, site: str, **facts: Any) -> None:
        self.sites[site] = self.sites[site].replaced(**facts)


def _source(received: ReceivedSet) -> MergeSource:
    """A set to be united with others."""
    return MergeSource(received.name, received.distilled, received.set_digest, received.sender, received.signer)


def _set_facts(received: ReceivedSet, manifest: BundleManifest) -> dict[str, Any]:
    """What the report says of a set that was taken; audit and risk are what its sender declares."""
    promised = Guarantee.of_set(received.distilled.provenance)
    return {
        "images": received.distilled.shown,
        "set_sha256": received.set_digest,
        "signer": received.signer or "",
        "audit": "" if manifest.audit is None else manifest.audit.verdict,
        "acknowledged_risk": manifest.acknowledged_risk or "",
        "guarantee": "" if promised is None else promised.sentence,
    }


def _why(answer: Answer) -> str:
    """Why a site did not do what it was asked."""
    reason = WORDS.get(answer.code, BROKEN)
    return f"{reason} ({answer.verdict})" if answer.verdict is not None else reason


Pieces = Mapping[str, bytes]
Ask = Callable[[str, Pieces, Sequence[str]], Mapping[str, object]]
"""How sites are asked: task, pieces and names of sites -> what arrived from each that answered."""


def exchange(this: Round, ask: Ask, make: str, test: str) -> FederatedRound:
    """Carry a round out, and write its report whatever becomes of it.

    Args:
        this: the round.
        ask: asks sites by way of the engine, and waits.
        make: task that asks for a set.
        test: task that asks for a test.
    """
    failure = "the round was broken off"
    try:
        asked = this.asked
        arrived = ask(make, this.request(), asked)
        for site in asked:
            this.take_set(site, arrived.get(site))
        asked, offer = this.asked, this.conclude()
        failure, arrived = "", {}
        try:
            arrived = ask(test, offer, asked)
        finally:  # a site that was not heard is named, whatever ended the asking
            for site in asked:
                this.take_figures(site, arrived.get(site))
    except MedistillError as error:
        failure = error.seen
        raise
    finally:
        record = this.write(failure)
    return record
