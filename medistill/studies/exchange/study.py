"""Exchange study: every site distils its own set, and networks that learn from exchanged sets are tested everywhere."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from medistill.artifacts.atomic import private_folder, sha256_file, write_json, write_text
from medistill.artifacts.corpus import NOT_STATED, Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.lock import exclusive_lock
from medistill.errors import ArtifactError, DataError, DivergedError, UsageError
from medistill.evaluate.hospital_curve import hospital_curve
from medistill.evaluate.network_keys import STATISTICS
from medistill.evaluate.predictions import Truth
from medistill.evaluate.site_matrix import SourcePredictions, site_matrix
from medistill.methods.registry import recipe_facts
from medistill.networks.own import NetworkFactory
from medistill.networks.registry import check_image_size, network_spec
from medistill.privacy.accounting import Guarantee
from medistill.privacy.attacks.initialisation_leakage import leakage
from medistill.privacy.initialisation import initial_rows
from medistill.progress import Progress, Silent, time_left
from medistill.recipe import Recipe, refuse_another_recipe
from medistill.report.exchange import ExchangeStudy, SmallHospital, StudiedSite
from medistill.report.exchange_page import exchange_markdown, render_exchange
from medistill.sharing.merge_source import MergeSource
from medistill.studies.exchange.audited import Auditor, without_exchange
from medistill.studies.exchange.invented import invented_hospitals, with_invented
from medistill.studies.exchange.networks import source_predictions
from medistill.studies.exchange.received import Senders, at_home
from medistill.studies.exchange.refusals import refuse_recipe
from medistill.studies.exchange.sites import ExchangeSite, plan_exchange
from medistill.studies.exchange.small_hospital import hospital_answers, refuse_hospital
from medistill.studies.exchange.sources import Sources
from medistill.training.context import Context
from medistill.training.device import choose_device
from medistill.training.encoded import encode_corpus
from medistill.training.images import grey_of
from medistill.workflow.built_in_corpus import built_in_corpus
from medistill.workflow.compatibility import MadeOf, refuse_misfit
from medistill.workflow.distill import distill
from medistill.workflow.encoder_choice import with_encoder
from medistill.workflow.environment import versions
from medistill.workflow.experts import followed_experts
from medistill.workflow.prepare import prepare
from medistill.workflow.pruning import pruned
from medistill.workflow.run_log import RunLog


def exchange_study(
    data: str | Path | None,
    recipe: Recipe,
    *,
    out: str | Path,
    labels: str | Path | None = None,
    received: Sequence[str | Path] = (),
    trust: Sequence[str] = (),
    network: NetworkFactory | None = None,
    device: str = "auto",
    progress: Progress = Silent(),
) -> ExchangeStudy:
    """Find out what the sites of a corpus would gain by exchanging distilled sets.

    Every site trains experts on its own images and distils them; its set holds the classes of which it has enough. The
    sets are audited, as far as the recipe says, and united. Networks are trained on each source of `SOURCES` and tested
    on every site's test patients. Where ``exchange.hospital`` names a site, it is tried with few of its patients too.
    Sets and networks are kept in ``out``: a call that was interrupted goes on where it was when it is repeated, and a
    site that makes no set, or whose set was damaged, is named and left out. Sets that other hospitals really sent stand
    beside those of the sites, or in their place where the corpus has one site: they are checked as `receive` checks
    them, and one that is refused or does not fit is named and left out. Ends with
    ``exchange.html``, ``exchange.json`` and ``exchange.md``, and the united set in ``out/united``.

    Args:
        data: folder of all sites' images; None for the built-in corpus.
        recipe: how each site distils, and how networks are trained and tested.
        out: folder of the study.
        labels: table of labels and sites.
        received: bundles, folders of sets or of runs.
        trust: keys of which one must have signed each of them.
        network: a network of the user's own (see `train_experts`); None takes the recipe's.

    Raises:
        UsageError: fewer than two sites can distil, or none where sets were received; none of these can be taken, and
            there is one site; ``trust`` names no key; a class comes from none; the recipe asks for whitening, or for
            networks under differential privacy; ``exchange.hospital`` is no site with two classes, or the method's
            labels are values or target vectors; ``out`` holds the study of something else, or another process works
            there; no test image is of a known site.
        DataError: there is nothing to read, or what was read makes no corpus.
    """
    refuse_recipe(recipe)
    recipe = with_encoder(recipe, network)
    folder = private_folder(Path(out))
    with exclusive_lock(folder / ".lock", when_taken=lambda: _refuse_second(folder), keep=False):
        log = RunLog(folder / "log.jsonl", progress)
        corpus = prepare(built_in_corpus(log) if data is None else data, recipe, labels=labels, progress=log)
        corpus = with_invented(at_home(corpus) if received else corpus, recipe, log)
        spec = network_spec(corpus, recipe, network)
        context = Context(corpus, recipe, spec, choose_device(device), folder / "networks", log)
        check_image_size(spec)
        senders = Senders.of(received, trust, context)
        encode_corpus(context)
        needed = max(recipe.method.ipc, recipe.fewest_images)
        fewest = 1 if senders.names else 2
        sites = plan_exchange(corpus, needed, recipe.fewest_patients, recipe.prune, fewest=fewest)
        if recipe.exchange.hospital:
            refuse_hospital(recipe.exchange.hospital, sites)
        rows = _tested(corpus)
        inside = replace(context, out=folder / "sites")
        sets, reasons = _sets(sites, without_exchange(inside), network, fewest=0 if senders.names else 2)
        senders = senders.beside(sets, context)
        studied = _studied_sites(sites, sets, reasons, Auditor(inside, network, built_in=data is None))
        sources = Sources(sites, {**sets, **(senders.sets or {})}, reasons, context)
        sources.united.save(private_folder(folder / "united"))
        predicted = source_predictions(sources.all(), rows, context)
        hospital = _small_hospital(sources, rows, context)
        log.say("Comparing the sources at every site.")
        study = replace(
            _study(predicted, rows, studied, context),
            hospital=hospital,
            received=senders.told,
            invented=invented_hospitals(recipe.exchange),
        )
        write_json(folder / "exchange.json", study.as_json())
        write_text(folder / "exchange.md", exchange_markdown(study))
        write_text(folder / "exchange.html", render_exchange(study))
    return study


def _sets(
    sites: Sequence[ExchangeSite], context: Context, network: NetworkFactory | None, *, fewest: int = 2
) -> tuple[dict[str, MergeSource], dict[str, str]]:
    """Return the set of each site, by its name, and why the others have none.

    Args:
        sites: what each site can give.
        context: corpus of all sites, and the folder in which each site's lies.
        network: a network of the user's own.
        fewest: sites that must have one.

    Raises:
        UsageError: fewer have one.
    """
    log = context.progress
    reasons = {site.name: site.reason for site in sites if site.reason}
    sets: dict[str, MergeSource] = {}
    giving = [site for site in sites if not site.reason]
    started = time.monotonic()
    for n, site in enumerate(giving):
        left = time_left(started, n, len(giving))
        log.say(f"Set of site {site.name}, {n + 1} of {len(giving)} sites{left}." + f" {site.note}".rstrip())
        folder = private_folder(context.out / site.folder)
        try:
            distilled = _finished(folder, site, context)
            if distilled is None:
                distilled = _distilled(folder, site, context, network)
        except (ArtifactError, DataError, DivergedError) as error:
            log.say(f"Site {site.name} sends nothing. {error}")
            reasons[site.name] = error.seen
            continue
        digest = sha256_file(folder / "set" / "images.safetensors")
        sets[site.name] = MergeSource(site.name, distilled, digest, sender=site.name)
    if len(sets) < fewest:
        raise UsageError(
            f"{len(sets)} of {len(sites)} sites made a set; {'; '.join(f'{k}: {why}' for k, why in reasons.items())}",
            expected="two at least, or nothing can be exchanged",
            do="see to what is said of each, and repeat the command; where a training diverged, lower "
            "method.experts.lr or method.student_lr_lr",
        )
    return sets, reasons


def _distilled(folder: Path, site: ExchangeSite, context: Context, network: NetworkFactory | None) -> DistilledSet:
    """Distil what a site can give."""
    share, recipe, device, log = site.share(context.corpus), context.recipe, context.device.type, context.progress
    experts = followed_experts(share, recipe, network=network, device=device, progress=log)
    return distill(
        share,
        experts,
        recipe,
        out=folder,
        classes=site.classes,
        network=network,
        device=device,
        resume=True,
        progress=log,
    )


def _finished(folder: Path, site: ExchangeSite, context: Context) -> DistilledSet | None:
    """Return the set that an earlier call made, if it did. Settings that decide nothing of it may have changed since.

    Raises:
        UsageError: it was made from other images, with another network or under another recipe.
    """
    if not (folder / "set" / "manifest.json").is_file():
        return None
    done = DistilledSet.load(folder / "set")
    refuse_misfit(MadeOf.of_set(done), site.share(context.corpus), "exchange", spec=context.spec, where=folder)
    stored = done.provenance.made_with(str(folder / "set"))
    statistics = {name: getattr(stored.evaluate, name) for name in STATISTICS}
    evaluate = context.recipe.evaluate.model_copy(update=statistics)
    mine = context.recipe.model_copy(update={"evaluate": evaluate, "audit": stored.audit})
    refuse_another_recipe(mine, stored, folder)
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


def _studied_sites(
    sites: Sequence[ExchangeSite], sets: Mapping[str, MergeSource], reasons: Mapping[str, str], auditor: Auditor
) -> list[StudiedSite]:
    """Return what each site gave, audited."""
    log, studied = auditor.context.progress, []
    for n, site in enumerate(sites, start=1):
        source = sets.get(site.name)
        if source is not None and auditor.context.recipe.exchange.audit != "off":
            log.say(f"Audit of the set of site {site.name}, {n} of {len(sites)} sites.")
        found = _studied(site, source, reasons.get(site.name, ""), auditor.context)
        if source is not None:
            promised = Guarantee.of_set(source.distilled.provenance)
            found = replace(
                found,
                audit=auditor.of(site, source.distilled),
                guarantee="" if promised is None else promised.sentence,
            )
        studied.append(found)
    return studied


def _small_hospital(sources: Sources, rows: np.ndarray, context: Context) -> SmallHospital | None:
    """Return what the site of ``exchange.hospital`` is with few of its patients; None where none is named."""
    recipe, corpus = context.recipe, context.corpus
    name = recipe.exchange.hospital
    others = sources.others_of(name) if name else None
    if others is None:
        return None
    site = next(one for one in sources.sites if one.name == name)
    answers = hospital_answers(site, others, rows, replace(context, out=context.out / "few"))
    names = tuple(corpus.site_names[number] for number in corpus.sites[rows])
    test = Truth(corpus.labels[rows], corpus.groups[rows], {"site": names})
    curves = tuple(
        hospital_curve(answers, test, place, corpus.class_names, recipe.evaluate, seed=recipe.seed)
        for place in (name, "")
    )
    return SmallHospital(name, recipe.exchange.draws, curves, answers.notes)


def _studied(site: ExchangeSite, source: MergeSource | None, reason: str, context: Context) -> StudiedSite:
    """Return what a site gave, and how many of its images give away the real ones that they began as."""
    recovered = None
    if source is not None:
        distilled, share, device = source.distilled.expanded(), site.share(context.corpus), context.device
        seen = pruned(share, context.recipe, context.spec, device, context.progress)
        began_as = initial_rows(source.distilled, seen).rows
        if began_as is not None:
            rows = share.rows("train")
            found = leakage(
                torch.from_numpy(distilled.normalisation.grey(distilled.images)).flatten(1).to(device),
                distilled.labels,
                began_as,
                rows,
                share.labels[rows],
                lambda some: grey_of(share, some, device).flatten(1),
            )
            recovered = int(found.recovered.sum())
    return StudiedSite(
        name=site.name,
        classes=site.classes,
        originals=len(site.rows),
        set_images=0 if source is None else source.distilled.shown,
        recovered=recovered,
        reason=reason,
        note=site.note,
    )


def _study(
    predicted: Sequence[SourcePredictions], rows: np.ndarray, sites: Sequence[StudiedSite], context: Context
) -> ExchangeStudy:
    corpus, recipe = context.corpus, context.recipe
    names = tuple(corpus.site_names[site] for site in corpus.sites[rows])
    test = Truth(corpus.labels[rows], corpus.groups[rows], {"site": names})
    matrix = site_matrix(
        predicted, test, [site.name for site in sites], corpus.class_names, recipe.evaluate, seed=recipe.seed
    )
    return ExchangeStudy(
        class_names=corpus.class_names,
        sites=tuple(sites),
        matrix=matrix,
        network=context.spec.words,
        networks=recipe.evaluate.networks,
        ipc=recipe.method.ipc,
        starts_from=recipe.method.starts_from,
        split_unit=corpus.split_unit,
        synthetic=corpus.synthetic,
        confidence=recipe.evaluate.confidence,
        replicates=recipe.evaluate.bootstrap,
        seed=recipe.seed,
        recipe=recipe.name,
        recipe_digest=recipe.digest,
        corpus=corpus.content,
        versions=versions(),
        audited=recipe.exchange.audit,
        weights=recipe.exchange.weights,
        method=recipe_facts(recipe).display_name,
    )


def _refuse_second(folder: Path) -> None:
    raise UsageError(
        f"another process works on the study in {folder}", expected="one process a study", do="wait until it has ended"
    )
