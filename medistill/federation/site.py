"""A site: what it does when it is asked, and the little that it answers. The work is that of the commands, one by one.

It needs nothing of the engine: a task's name, the pieces that arrived, and what the engine calls the site.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from medistill.artifacts.atomic import private_folder, read_bytes, write_bytes
from medistill.artifacts.classifier import PREPROCESSING as PREPROCESSING_FILE
from medistill.artifacts.classifier import WEIGHTS as WEIGHTS_FILE
from medistill.artifacts.classifier import Classifier
from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.errors import ArtifactError, GateError, MedistillError
from medistill.evaluate.evaluation import load_evaluation
from medistill.federation.figures import home_figures
from medistill.federation.messages import (
    BUNDLE,
    MAKE,
    PREPROCESSING,
    WEIGHTS,
    Answer,
    Code,
    HomeRequest,
    MakeRequest,
    Parcel,
    message,
    opened,
    own_version,
)
from medistill.federation.site_file import SiteFile, read_site_file
from medistill.privacy.audit import Audit, parse_audit
from medistill.progress import Silent
from medistill.recipe import Recipe, validate_recipe
from medistill.recipe.limits import refuse_large
from medistill.recipe.load import parse_toml
from medistill.sharing.keys import keys_root, load_private
from medistill.studies.audit.audit import audit
from medistill.workflow.audit_seal import RECORD, sealed_here
from medistill.workflow.evaluate_classifier import evaluate_classifier
from medistill.workflow.prepare import prepare
from medistill.workflow.run import run
from medistill.workflow.run_log import RunLog
from medistill.workflow.share import share

FOREIGN = "the server's classifier"
PASSPHRASE = "MEDISTILL_PASSPHRASE"  # noqa: S105  # the name of the variable
RECIPE_FILE = "recipe.toml"


class Ended(Exception):
    """A task cannot be done here; the code is all that the server is told."""

    def __init__(self, code: Code, audit: Audit | None = None) -> None:
        self.code, self.audit = code, audit
        super().__init__(code)


@dataclass(frozen=True)
class Site:
    """A site at work.

    Attributes:
        settings: what the site says for itself.
        recipe: which the server asked for and the house agreed to.
        folder: of all that is made by it.
        log: its own; what it says stays here.
    """

    settings: SiteFile
    recipe: Recipe
    folder: Path
    log: RunLog

    def corpus(self) -> Corpus:
        """Read its images, or what was read before."""
        with ends_as("data", self.log):
            return prepare(self.settings.data, self.recipe, labels=self.settings.labels or None, progress=self.log)


def answer_to(task: str, received: object, site: str) -> dict[str, bytes]:
    """Do a task, and return the pieces of the answer. Errors become a code; their words stay in the site's own log.

    Args:
        task: `MAKE`, or the one that asks for a test.
        received: what the engine handed over.
        site: as the engine calls it.
    """
    try:
        return _make(received, site) if task == MAKE else _test(received, site)
    except Ended as end:
        verdict = None if end.audit is None else end.audit.verdict
        return message(Answer(protocol=1, medistill=own_version(), code=end.code, verdict=verdict))
    except Exception:  # noqa: BLE001  # its words may quote what was read
        _keep_trace(site)
        return message(Answer(protocol=1, medistill=own_version(), code="stopped"))


@contextmanager
def ends_as(code: Code, log: RunLog | None = None) -> Iterator[None]:
    """Let an error that medistill foresees end the task with a code, and keep its words here."""
    try:
        yield
    except MedistillError as error:
        if log is not None:
            log.say(str(error))
        raise Ended(code) from error


def _make(received: object, site: str) -> dict[str, bytes]:
    """Make the set, audit it, pass the gate, and return the signed bundle."""
    with ends_as("recipe"):
        parcel = _same_version(received)
        text = MakeRequest.from_json(parcel.head, "the server's request").recipe
    here = _site(site, text)
    settings, out = here.settings, here.folder / "run"
    corpus = here.corpus()
    with ends_as("set", here.log):
        run(
            here.recipe,
            out=out,
            data=settings.data,
            labels=settings.labels or None,
            device=settings.device,
            resume=True,
            progress=here.log,
        )
    found = _audited(here, out, corpus)
    bundle = here.folder / "bundle.zip"
    bundle.unlink(missing_ok=True)
    with ends_as("site file", here.log):
        key = load_private(
            keys_root(), settings.key, os.environ.get(PASSPHRASE) or None, today=datetime.now(UTC).date()
        )
    try:
        with ends_as("set", here.log):
            share(
                out,
                out=bundle,
                licence=settings.licence,
                intended_use=settings.intended_use,
                sender=settings.sender,
                acknowledged_risk=settings.acknowledge_risk or None,
                key=key,
                progress=here.log,
            )
    except Ended as end:
        raise Ended("gate", found) if isinstance(end.__cause__, GateError) else end from end
    head = Answer(protocol=1, medistill=own_version(), code="done")
    return message(head, **{BUNDLE: bundle.read_bytes()})


def _audited(here: Site, out: Path, corpus: Corpus) -> Audit:
    """The audit of the run's set: an earlier one that passed, where this installation made it of this very set."""
    with ends_as("audit", here.log):
        distilled, folder = DistilledSet.load(out / "set"), out / "audit"
        record = folder / RECORD
        data = read_bytes(record, "audit") if record.is_file() else b""
        if data and sealed_here(distilled, folder, data):
            kept = parse_audit(data, record)
            if kept.passed and kept.set_digest == distilled.digest() and kept.thresholds == here.recipe.strictness:
                return kept
        return audit(
            distilled,
            corpus,
            here.recipe,
            out=folder,
            run=out,
            device=here.settings.device,
            command="medistill flare",
            progress=here.log,
        )


def _test(received: object, site: str) -> dict[str, bytes]:
    """Check the classifier, keep it, test it on the site's own test patients, and return what may be told of that."""
    with ends_as("classifier"):
        parcel = _same_version(received, WEIGHTS, PREPROCESSING)
        asked = HomeRequest.from_json(parcel.head, "the server's request").recipe_sha256
    with ends_as("site file"):
        folder = read_site_file(site).folder()
    kept = folder / RECIPE_FILE
    here = _site(site, kept.read_text(encoding="utf-8") if kept.is_file() else "")
    if asked != here.settings.recipe:
        raise Ended("recipe")
    with ends_as("classifier", here.log):
        classifier, place = _received_classifier(here, parcel)
    corpus = here.corpus()
    with ends_as("figures", here.log):
        tested = evaluate_classifier(
            classifier, corpus, here.recipe, out=place / "home", device=here.settings.device, progress=here.log
        )
        stored = here.folder / "run" / "evaluation" / "evaluation.json"
        own = load_evaluation(stored) if stored.is_file() else None
    if own is not None and own.class_patients != tested.class_patients:
        own = None  # of other images than are there now
    figures = home_figures(tested, own, here.recipe)
    return message(Answer(protocol=1, medistill=own_version(), code="done", figures=figures))


def _received_classifier(here: Site, parcel: Parcel) -> tuple[Classifier, Path]:
    """The classifier that arrived, and the folder in which the site keeps it. Another one is kept beside it.

    Raises:
        ArtifactError: it is none, or not of the network, classes and images that the recipe asks for.
    """
    digest = hashlib.sha256(parcel.files[WEIGHTS] + parcel.files[PREPROCESSING]).hexdigest()
    kept = private_folder(here.folder / "classifiers")
    with tempfile.TemporaryDirectory(dir=kept, prefix="arrived-") as name:  # one that is refused leaves nothing behind
        arrived = Path(name)
        write_bytes(arrived / WEIGHTS_FILE, parcel.files[WEIGHTS], private=True)
        write_bytes(arrived / PREPROCESSING_FILE, parcel.files[PREPROCESSING], private=True)
        classifier = _as_asked(arrived, here)
        place = private_folder(kept / digest[:16])
        for file in (WEIGHTS_FILE, PREPROCESSING_FILE):
            (arrived / file).replace(place / file)
    return classifier, place


def _as_asked(folder: Path, here: Site) -> Classifier:
    """Read a classifier, and refuse one that is not of the network, classes and images that the recipe asks for."""
    classifier, data = Classifier.load(folder), here.recipe.data
    shape = (data.channels, data.image_size, data.image_size)
    if classifier.recipe.network != here.recipe.network or classifier.shape != shape:
        raise _unlike("of another network, or for images of another size")
    if classifier.class_names != data.classes:
        raise _unlike(f"for the classes {', '.join(classifier.class_names)}")
    if classifier.normalisation.whitening is not None:
        raise _unlike("for whitened images")
    return classifier


def _unlike(why: str) -> ArtifactError:
    return ArtifactError(
        f"{FOREIGN} is {why}", expected="one as the recipe asks for", do="ask whoever runs the server how it was made"
    )


def _same_version(received: object, *files: str) -> Parcel:
    """What arrived, from the same version of medistill.

    Raises:
        ArtifactError: it is no message.
        Ended: it comes from another version.
    """
    parcel = opened(received, "the server", *files)
    if not parcel.same_version:
        raise Ended("other version")
    return parcel


def _site(site: str, text: str) -> Site:
    """The site by its own file, and the recipe, which must be the one that the file agrees to.

    Raises:
        Ended: the file is missing or wrong, or the recipe is another one, or none that may come from outside.
    """
    with ends_as("site file"):
        settings = read_site_file(site)
        folder = private_folder(settings.folder())
    if hashlib.sha256(text.encode()).hexdigest() != settings.recipe:
        raise Ended("recipe")
    log = RunLog(folder / "site.jsonl", Silent())
    log.path.touch(mode=0o600, exist_ok=True)
    with ends_as("recipe", log):
        values = parse_toml(text, "the server's recipe")
        refuse_large(values, "the server's recipe", "refuse")
        recipe = validate_recipe(values, "the server's recipe")
        write_bytes(folder / RECIPE_FILE, text.encode(), private=True)
    return Site(settings, recipe, folder, log)


def _keep_trace(site: str) -> None:
    """Write what went wrong beside the site's own files, if these are known."""
    try:
        folder = private_folder(read_site_file(site).folder())
    except MedistillError:
        return
    write_bytes(folder / "error.txt", traceback.format_exc().encode(), private=True)
