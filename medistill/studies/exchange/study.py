"""Exchange study: every site distils its own set, and networks that learn from exchanged sets are tested everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np

from medistill.artifacts.atomic import private_folder, write_json, write_text
from medistill.artifacts.cache import cache_root
from medistill.artifacts.corpus import NOT_STATED, Corpus
from medistill.artifacts.lock import exclusive_lock
from medistill.errors import UsageError
from medistill.evaluate.hospital_curve import hospital_curve
from medistill.evaluate.predictions import Truth
from medistill.evaluate.site_matrix import SourcePredictions, site_matrix
from medistill.methods.registry import recipe_facts
from medistill.networks.own import NetworkFactory
from medistill.networks.registry import check_image_size, network_spec
from medistill.progress import Progress, Silent
from medistill.ranks.ranks import ALONE, Ranks
from medistill.recipe import Recipe
from medistill.report.exchange import ExchangeStudy, SmallHospital
from medistill.report.exchange_page import exchange_markdown, render_exchange
from medistill.report.studied_site import StudiedSite
from medistill.studies.exchange.audited import Auditor
from medistill.studies.exchange.choice import offered_weights
from medistill.studies.exchange.giving import sets_of, studied_sites
from medistill.studies.exchange.invented import invented_hospitals, with_invented
from medistill.studies.exchange.networks import source_predictions
from medistill.studies.exchange.received import at_home, senders_of
from medistill.studies.exchange.refusals import refuse_recipe
from medistill.studies.exchange.sites import plan_exchange
from medistill.studies.exchange.small_hospital import hospital_answers, refuse_hospital
from medistill.studies.exchange.sources import Sources
from medistill.studies.exchange.variants import compared_variants, made_variant, variants_of
from medistill.training.context import Context
from medistill.training.device import choose_device
from medistill.training.encoded import encode_corpus
from medistill.workflow.built_in_corpus import built_in_corpus
from medistill.workflow.encoder_choice import with_encoder
from medistill.workflow.environment import versions
from medistill.workflow.prepare import prepare
from medistill.workflow.run import log_of, say_ranks
from medistill.workflow.run_log import RunLog
from medistill.workflow.shared_places import refuse_unlike, refuse_unshared


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
    ranks: Ranks = ALONE,
    progress: Progress = Silent(),
) -> ExchangeStudy:
    """Find out what the sites of a corpus would gain by exchanging distilled sets.

    Every site trains experts on its own images and distils them; its set holds the classes of which it has enough. The
    sets are audited, as far as the recipe says, and united. ``exchange.variants`` makes them in other ways too, which
    are told of beside own originals. Networks are trained on each source of `SOURCES` and tested
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
        ranks: processes that share sites, networks and draws of the small hospital, each one at a time.

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
    variants = variants_of(recipe)
    refuse_unlike(ranks, recipe)
    folder = private_folder(Path(out))
    if ranks.size > 1:
        refuse_unshared(ranks, {"the cache": cache_root(), "the folder": folder})
    sole = exclusive_lock(folder / ".lock", when_taken=lambda: _refuse_second(folder), keep=False)
    with sole if ranks.leads else nullcontext():
        log = RunLog(log_of(folder, ranks), progress)
        say_ranks(ranks, log)

        def read() -> Corpus:
            whole = prepare(built_in_corpus(log) if data is None else data, recipe, labels=labels, progress=log)
            return with_invented(at_home(whole) if received else whole, recipe, log)

        corpus = ranks.first(read)
        spec = network_spec(corpus, recipe, network)
        context = Context(corpus, recipe, spec, choose_device(device), folder / "networks", log, ranks=ranks)
        check_image_size(spec)
        senders = senders_of(received, trust, context, ranks, folder / ".received")
        ranks.first(lambda: encode_corpus(context))
        needed = max(recipe.method.ipc, recipe.fewest_images)
        fewest = 1 if senders.names else 2
        sites = plan_exchange(corpus, needed, recipe.fewest_patients, recipe.prune, fewest=fewest)
        if recipe.exchange.hospital:
            refuse_hospital(recipe.exchange.hospital, sites)
        rows = _tested(corpus)
        inside = replace(context, out=folder / "sites", ranks=ALONE)
        auditor = Auditor(inside, network, built_in=data is None)
        studied = studied_sites(sites, auditor, ranks)
        sets, reasons = sets_of(sites, studied, folder / "sites", fewest=0 if senders.names else 2)
        senders = ranks.first(lambda: senders.beside(sets, context))
        sources = Sources(sites, {**sets, **(senders.sets or {})}, reasons, context)
        ranks.lead(lambda: sources.united.save(private_folder(folder / "united")))
        made = []
        for n, variant in enumerate(variants[1:], start=2):
            log.say(f"Way of making the sets: {variant.name}, {n} of {len(variants)}.")
            made.append(made_variant(variant, sites, senders.sets or {}, auditor, ranks, folder / "variants"))
        predicted = source_predictions([*sources.all(), *(one for way in made for one in way.sources)], rows, context)
        hospital = _small_hospital(sources, rows, context)
        log.say("Comparing the sources at every site.")
        told = _study([one for one in predicted if not one.variant], rows, studied, context)
        if variants:
            test, tested = _truth(corpus, rows), told.matrix.sites
            compared = compared_variants(variants[0], studied, made, predicted, test, tested, context)
            told = replace(told, variants=compared)
        study = replace(
            told,
            hospital=hospital,
            received=senders.told,
            invented=invented_hospitals(recipe.exchange),
        )
        ranks.lead(lambda: _write(study, folder))
    return study


def _write(study: ExchangeStudy, folder: Path) -> None:
    write_json(folder / "exchange.json", study.as_json())
    write_text(folder / "exchange.md", exchange_markdown(study))
    write_text(folder / "exchange.html", render_exchange(study))


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


def _truth(corpus: Corpus, rows: np.ndarray) -> Truth:
    """What is true of test images, with the site of each."""
    names = tuple(corpus.site_names[number] for number in corpus.sites[rows])
    return Truth(corpus.labels[rows], corpus.groups[rows], {"site": names})


def _small_hospital(sources: Sources, rows: np.ndarray, context: Context) -> SmallHospital | None:
    """Return what the site of ``exchange.hospital`` is with few of its patients; None where none is named."""
    recipe, corpus = context.recipe, context.corpus
    name = recipe.exchange.hospital
    others = sources.others_of(name) if name else None
    if others is None:
        return None
    site = next(one for one in sources.sites if one.name == name)
    answers = hospital_answers(site, others, rows, replace(context, out=context.out / "few"))
    test = _truth(corpus, rows)
    curves = tuple(
        hospital_curve(answers, test, place, corpus.class_names, recipe.evaluate, seed=recipe.seed)
        for place in (name, "")
    )
    return SmallHospital(name, recipe.exchange.draws, curves, answers.notes, recipe.exchange.guard)


def _study(
    predicted: Sequence[SourcePredictions], rows: np.ndarray, sites: Sequence[StudiedSite], context: Context
) -> ExchangeStudy:
    corpus, recipe = context.corpus, context.recipe
    test = _truth(corpus, rows)
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
        weights=offered_weights(recipe.exchange),
        guard=recipe.exchange.guard,
        method=recipe_facts(recipe).display_name,
    )


def _refuse_second(folder: Path) -> None:
    raise UsageError(
        f"another process works on the study in {folder}", expected="one process a study", do="wait until it has ended"
    )
