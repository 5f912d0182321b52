"""Exchange study: every site distils its own set, and networks that learn from exchanged sets are tested everywhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from medistill.artifacts.atomic import private_folder, sha256_file, write_json, write_text
from medistill.artifacts.corpus import NOT_STATED, Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.lock import alone
from medistill.errors import DivergedError, UsageError
from medistill.evaluate.predictions import Truth
from medistill.evaluate.site_matrix import SourcePredictions, site_matrix
from medistill.networks.own import NetworkFactory
from medistill.networks.registry import check_image_size
from medistill.privacy.residue import residue
from medistill.progress import Progress, Silent
from medistill.recipe import Recipe, refuse_another_recipe, validate_recipe
from medistill.report.exchange import ExchangeStudy, StudiedSite
from medistill.report.exchange_page import exchange_markdown, render_exchange
from medistill.sharing.merge_source import MergeSource
from medistill.training.device import choose_device
from medistill.workflow.audit import starting_rows
from medistill.workflow.distill import distill
from medistill.workflow.environment import versions
from medistill.workflow.evaluate import STATISTICS
from medistill.workflow.exchange_networks import Asked, Lessons
from medistill.workflow.exchange_sites import ExchangeSite, plan_exchange
from medistill.workflow.experts import followed_experts, network_spec
from medistill.workflow.leave_site_out import time_left
from medistill.workflow.likeness import grey_of
from medistill.workflow.prepare import prepare
from medistill.workflow.run import built_in_corpus
from medistill.workflow.run_log import RunLog


def exchange_study(
    data: str | Path | None,
    recipe: Recipe,
    *,
    out: str | Path,
    labels: str | Path | None = None,
    network: NetworkFactory | None = None,
    device: str = "auto",
    progress: Progress = Silent(),
) -> ExchangeStudy:
    """Find out what the sites of a corpus would gain by exchanging distilled sets.

    Every site trains experts on its own images and distils them; its set holds the classes of which it has enough. The
    sets are united. Networks are trained on each source of `SOURCES` and tested on every site's test patients. Sets
    and networks are kept in ``out``: a call that was interrupted goes on where it was when it is repeated. Ends with
    ``exchange.html``, ``exchange.json`` and ``exchange.md``, and the united set in ``out/united``.

    Args:
        data: folder of all sites' images; None for the built-in corpus.
        recipe: how each site distils, and how networks are trained and tested.
        out: folder of the study.
        labels: table of labels and sites.
        network: a network of the user's own (see `train_experts`); None takes the recipe's.

    Raises:
        UsageError: fewer than two sites can distil; a class comes from none; the recipe asks for differential privacy
            or whitening; ``out`` holds the study of something else, or another process works there; no test image is
            of a known site.
        DataError: there is nothing to read, or what was read makes no corpus.
    """
    _refuse_recipe(recipe)
    folder = private_folder(Path(out))
    with alone(folder / ".lock", when_taken=lambda: _refuse_second(folder), keep=False):
        log = RunLog(folder / "log.jsonl", progress)
        corpus = prepare(built_in_corpus(log) if data is None else data, recipe, labels=labels, progress=log)
        spec, place = network_spec(corpus, recipe, network), choose_device(device)
        check_image_size(spec)
        sites, rows = plan_exchange(corpus, recipe.distill.ipc, recipe.fewest_patients), _tested(corpus)
        sets, reasons = _sets(sites, corpus, recipe, folder / "sites", network, place.type, log)
        lessons = Lessons(corpus, sites, sets, reasons, recipe, place)
        lessons.united.save(private_folder(folder / "united"))
        asked = Asked(rows, corpus, recipe, spec, place, folder / "networks")
        found = asked.about(lessons.all(), log)
        log.say("Comparing the sources at every site.")
        studied = [_studied(site, corpus, sets.get(site.name), reasons.get(site.name, ""), place) for site in sites]
        study = _study(found, rows, corpus, studied, recipe, spec.words)
        write_json(folder / "exchange.json", study.as_json())
        write_text(folder / "exchange.md", exchange_markdown(study))
        write_text(folder / "exchange.html", render_exchange(study))
    return study


def _sets(
    sites: Sequence[ExchangeSite],
    corpus: Corpus,
    recipe: Recipe,
    folder: Path,
    network: NetworkFactory | None,
    device: str,
    log: RunLog,
) -> tuple[dict[str, MergeSource], dict[str, str]]:
    """The set of each site, by its name, and why the others have none.

    Raises:
        UsageError: fewer than two have one.
    """
    reasons = {site.name: site.reason for site in sites if site.reason}
    sets: dict[str, MergeSource] = {}
    giving = [site for site in sites if not site.reason]
    started = time.monotonic()
    for n, site in enumerate(giving):
        left = (time.monotonic() - started) / n * (len(giving) - n) if n else None
        log.say(f"Set of site {site.name}, {n + 1} of {len(giving)} sites{time_left(left)}." + f" {site.note}".rstrip())
        place = private_folder(folder / site.folder)
        try:
            distilled = _finished(place, site, corpus, recipe, network)
            if distilled is None:
                share = site.share(corpus)
                experts = followed_experts(share, recipe, network=network, device=device, progress=log)
                distilled = distill(
                    share,
                    experts,
                    recipe,
                    out=place,
                    classes=site.classes,
                    network=network,
                    device=device,
                    resume=True,
                    progress=log,
                )
        except DivergedError as error:
            log.say(str(error))
            reasons[site.name] = error.seen
            continue
        digest = sha256_file(place / "set" / "images.safetensors")
        sets[site.name] = MergeSource(site.name, distilled, digest, sender=site.name)
    if len(sets) < 2:
        raise UsageError(
            f"{len(sets)} of {len(sites)} sites made a set; {'; '.join(f'{k}: {why}' for k, why in reasons.items())}",
            expected="two at least, or nothing can be exchanged",
            do="lower experts.lr or distill.student_lr_lr, and repeat the command",
        )
    return sets, reasons


def _finished(
    place: Path, site: ExchangeSite, corpus: Corpus, recipe: Recipe, network: NetworkFactory | None
) -> DistilledSet | None:
    """The set that an earlier call made, if it did. Settings that decide nothing about it may have changed since.

    Raises:
        UsageError: it was made from other images, with another network or under another recipe.
    """
    if not (place / "set" / "manifest.json").is_file():
        return None
    done = DistilledSet.load(place / "set")
    same = {"corpus": site.share(corpus).content, "network": network_spec(corpus, recipe, network).name}
    if any(done.provenance.get(name) != value for name, value in same.items()):
        raise UsageError(
            f"{place} holds a set of other images or of another network",
            expected="a folder that is new, or the one of this study",
            do="choose another --out, or remove that folder",
        )
    stored = validate_recipe(done.provenance.get("recipe", {}), f"the recipe inside {place / 'set'}")
    statistics = {name: getattr(stored.evaluate, name) for name in STATISTICS}
    evaluate = recipe.evaluate.model_copy(update=statistics)
    mine = recipe.model_copy(update={"evaluate": evaluate, "audit": stored.audit})
    refuse_another_recipe(mine, stored, place)
    return done


def _tested(corpus: Corpus) -> np.ndarray:
    """The test images whose site is known, as rows of the corpus."""
    rows = corpus.rows("test")
    known = np.array([name != NOT_STATED for name in corpus.site_names])
    rows = rows[known[corpus.sites[rows]]]
    if len(rows) == 0:
        raise UsageError(
            "there are no test images of a known site",
            expected="test images at one site at least",
            do="set data.test_fraction above 0, or give images the split 'test'",
        )
    return rows


def _studied(
    site: ExchangeSite, corpus: Corpus, source: MergeSource | None, reason: str, place: torch.device
) -> StudiedSite:
    """What a site gave, and how many of its images give away the real ones that they began as."""
    recovered = None
    if source is not None:
        distilled, share = source.distilled, site.share(corpus)
        began_as, _ = starting_rows(distilled, share)
        if began_as is not None:
            rows = share.rows("train")
            found = residue(
                torch.from_numpy(distilled.normalisation.grey(distilled.images)).flatten(1).to(place),
                distilled.labels,
                began_as,
                rows,
                share.labels[rows],
                lambda some: grey_of(share, some, place).flatten(1),
            )
            recovered = int(found.recovered.sum())
    return StudiedSite(
        name=site.name,
        classes=site.classes,
        originals=len(site.rows),
        set_images=0 if source is None else len(source.distilled.labels),
        recovered=recovered,
        reason=reason,
        note=site.note,
    )


def _study(
    found: Sequence[SourcePredictions],
    rows: np.ndarray,
    corpus: Corpus,
    sites: Sequence[StudiedSite],
    recipe: Recipe,
    network: str,
) -> ExchangeStudy:
    names = tuple(corpus.site_names[site] for site in corpus.sites[rows])
    test = Truth(corpus.labels[rows], corpus.groups[rows], {"site": names})
    matrix = site_matrix(
        found, test, [site.name for site in sites], corpus.class_names, recipe.evaluate, seed=recipe.seed
    )
    return ExchangeStudy(
        class_names=corpus.class_names,
        sites=tuple(sites),
        matrix=matrix,
        network=network,
        networks=recipe.evaluate.networks,
        ipc=recipe.distill.ipc,
        starts_from=recipe.distill.init,
        split_unit=corpus.split_unit,
        synthetic=corpus.synthetic,
        confidence=recipe.evaluate.confidence,
        replicates=recipe.evaluate.bootstrap,
        seed=recipe.seed,
        recipe=recipe.name,
        recipe_digest=recipe.digest,
        corpus=corpus.content,
        versions=versions(),
    )


def _refuse_recipe(recipe: Recipe) -> None:
    if recipe.privacy.mode == "dp":
        raise UsageError(
            "the recipe asks for differential privacy",
            expected="a recipe without it: the sources that the sets are compared with use the same patients outside "
            "any budget",
            do="set privacy.mode = none for the study",
        )
    if recipe.data.zca:
        raise UsageError(
            "the recipe whitens the images",
            expected="data.zca = false, since sets with a whitening of each site's own cannot be united",
            do="add --set data.zca=false",
        )


def _refuse_second(folder: Path) -> None:
    raise UsageError(
        f"another process works on the study in {folder}", expected="one process a study", do="wait until it has ended"
    )
