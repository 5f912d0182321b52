"""Refusals: a set is audited beside the corpus, and by the network, that it was made with, and by no other."""

from __future__ import annotations

from collections.abc import Mapping

from medistill.artifacts.corpus import Corpus, TextCheck
from medistill.artifacts.distilled_set import DistilledSet
from medistill.errors import DataError, UsageError
from medistill.networks.registry import NetworkSpec
from medistill.workflow.same_corpus import text_looked_for


def refuse_another_corpus(distilled: DistilledSet, corpus: Corpus) -> None:
    """Refuse a corpus that the set was not made from.

    Raises:
        DataError: it is another one, or has other classes or shapes; or the set does not say which it was.
    """
    if distilled.class_names != corpus.class_names:
        raise DataError(
            f"the set has the classes {', '.join(distilled.class_names)}; "
            f"the corpus has {', '.join(corpus.class_names)}",
            expected="the corpus that the set was made from, with the same classes in the same order",
            do="give that corpus with --data and --labels",
        )
    if distilled.images.shape[1:] != corpus.images.shape[1:]:
        raise DataError(
            f"the set's images are {distilled.images.shape[1:]}, the corpus' {corpus.images.shape[1:]} (C, H, W)",
            expected="the corpus that the set was made from, in the same shape",
            do="give that corpus, and the recipe that the set was made with",
        )
    made_from = distilled.provenance.get("corpus")
    if made_from != corpus.content:
        text = text_looked_for(_text_check_of(distilled), corpus.text_check) if made_from else ""
        raise DataError(
            f"the set was made from the corpus {str(made_from)[:12]}, and this one is {corpus.content[:12]}"
            f"{f' ({text})' if text else ''}"
            if made_from
            else "the set does not say which corpus it was made from",
            expected="the very corpus, split as it was: an audit against other images would find nothing",
            do="give the --data, --labels and settings that the set was made with (its recipe lies in manifest.json)",
        )


def _text_check_of(distilled: DistilledSet) -> TextCheck | None:
    """What looked for text in the originals, as the set says."""
    stated = distilled.provenance.get("text_check")
    if not isinstance(stated, Mapping) or "by" not in stated:
        return None
    return TextCheck(str(stated["by"]), str(stated.get("policy")))


def refuse_another_network(distilled: DistilledSet, spec: NetworkSpec) -> None:
    """Refuse another network than the set was made with: its shadows would tell of another method.

    Raises:
        UsageError: it is another one.
    """
    made_with = distilled.provenance.get("network", spec.name)
    if made_with != spec.name:
        raise UsageError(
            f"the set was made with the network {made_with}, and the audit would make its shadows with {spec.name}",
            expected="the network that the set was made with",
            do="leave network.name as the set's recipe has it; for a network of your own, call medistill.audit with "
            "network=, from Python",
        )
