"""Compatibility: whether a set, a classifier or a run fits the corpus and the network that it is to be used with.

What was made says of what (`MadeOf`); each use asks for some of it to be the same. `refuse_misfit` compares, in one
order for all uses, and `MISFITS` has what each says: a use compares what it has a line for, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from medistill.artifacts.classifier import Classifier
from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.encoder_summary import SHORT
from medistill.artifacts.text_check import TextCheck
from medistill.errors import DataError, MedistillError, UsageError
from medistill.networks.registry import NetworkSpec
from medistill.workflow.same_corpus import text_looked_for

Use = Literal["evaluate", "audit", "resume", "leave a site out", "exchange"]
Aspect = Literal["classes", "shape", "corpus", "network"]


@dataclass(frozen=True)
class MadeOf:
    """What something was made of, as it says itself.

    Attributes:
        name: what a message calls it, as "the set".
        class_names: of its outputs.
        shape: (C, H, W) of its images.
        corpus: content hash of the corpus; None where it does not say.
        network: name of the network, of a probe with its encoder; None likewise.
        text_check: what looked for text in the originals; None likewise.
    """

    name: str
    class_names: tuple[str, ...]
    shape: tuple[int, ...]
    corpus: str | None
    network: str | None
    text_check: TextCheck | None = None

    @classmethod
    def of_set(cls, distilled: DistilledSet) -> MadeOf:
        """Return what a distilled set says."""
        known = distilled.provenance
        return cls(
            name="the set",
            class_names=distilled.class_names,
            shape=distilled.images.shape[1:],
            corpus=known.corpus,
            network=_with_encoder(known.network, "" if known.encoder is None else known.encoder.sha256),
            text_check=None if known.text_check is None else known.text_check.check,
        )

    @classmethod
    def of_classifier(cls, classifier: Classifier) -> MadeOf:
        """Return what a classifier says; where its set was made is for its set to say."""
        return cls("the classifier", classifier.class_names, classifier.shape, None, None)


def _with_encoder(network: str | None, sha256: str) -> str | None:
    return f"{network} on the encoder {sha256[:SHORT]}" if network and sha256 else network


@dataclass(frozen=True)
class Misfit:
    """What a use says where something is not the same; its texts have the fields that `refuse_misfit` fills in."""

    error: type[MedistillError]
    seen: str
    expected: str
    do: str
    unstated: str = ""
    """Said in place of ``seen`` where what was made does not say; empty lets it pass."""


_CLASSES = "{name} has the classes {made}; the corpus has {now}"
_SHAPE = "{name}'s images are {made}, the corpus' {now} (C, H, W)"
_SAME_FILES = "give the --data, --labels and settings that the set was made with (its recipe lies in manifest.json)"
_ANOTHER_SET = "the set in {where} was made from another corpus than this one, or from another split of it"
_ANOTHER_STUDY = Misfit(
    UsageError,
    "{where} holds a set of other images or of another network",
    "a folder that is new, or the one of this study",
    "choose another --out, or remove that folder",
    unstated="{where} holds a set of other images or of another network",
)

MISFITS: Mapping[tuple[Use, Aspect], Misfit] = {
    ("evaluate", "classes"): Misfit(
        DataError,
        _CLASSES,
        "the same classes in the same order; some of them may have no image",
        "read the corpus with the classes of {name} (data.classes)",
    ),
    ("evaluate", "shape"): Misfit(
        DataError, _SHAPE, "the same shape", "prepare the corpus with the recipe that {name} was made with"
    ),
    ("audit", "classes"): Misfit(
        DataError,
        _CLASSES,
        "the corpus that the set was made from, with the same classes in the same order",
        "give that corpus with --data and --labels",
    ),
    ("audit", "shape"): Misfit(
        DataError,
        _SHAPE,
        "the corpus that the set was made from, in the same shape",
        "give that corpus, and the recipe that the set was made with",
    ),
    ("audit", "corpus"): Misfit(
        DataError,
        "the set was made from the corpus {made:.12}, and this one is {now:.12}{text}",
        "the very corpus, split as it was: an audit against other images would find nothing",
        _SAME_FILES,
        unstated="the set does not say which corpus it was made from",
    ),
    ("audit", "network"): Misfit(
        UsageError,
        "the set was made with the network {made}, and the audit would make its shadows with {now}",
        "the network that the set was made with",
        "leave network.name as the set's recipe has it; for a network of your own, call medistill.audit with "
        "network=, from Python",
    ),
    ("resume", "corpus"): Misfit(
        UsageError,
        _ANOTHER_SET,
        "the corpus that it was made from",
        "restore the data as they were, or choose another --out",
        unstated=_ANOTHER_SET,
    ),
    ("resume", "network"): Misfit(
        UsageError,
        "the run in {where} was made with the network {made}",
        "{now}",
        "give the network that it was made with, or choose another --out",
    ),
    ("leave a site out", "corpus"): Misfit(
        UsageError,
        "these files make another corpus than the one that the run in {where} was made from",
        "the same folder and the same table as for `medistill distill`",
        "give its --data and its --labels; if the files have changed since, distil them again first",
    ),
    ("leave a site out", "network"): Misfit(
        UsageError,
        "the run in {where} was made with the network {made}",
        "the same network here, not {now}",
        "give the network that it was made with",
    ),
    ("exchange", "corpus"): _ANOTHER_STUDY,
    ("exchange", "network"): _ANOTHER_STUDY,
}


def refuse_misfit(
    made_of: MadeOf, corpus: Corpus, use: Use, *, spec: NetworkSpec | None = None, where: object = ""
) -> None:
    """Refuse to use something with a corpus, or a network, that it does not fit.

    Args:
        made_of: what it says of its making.
        corpus: the corpus that it is to be used with.
        use: what for; it decides what has to be the same and what is said where it is not.
        spec: the network that would be trained; None where none would.
        where: its folder, for messages.

    Raises:
        DataError: other classes or another shape, or another corpus, by the use.
        UsageError: another network, or another corpus, likewise.
    """
    compared: dict[Aspect, tuple[object, object]] = {
        "classes": (made_of.class_names, corpus.class_names),
        "shape": (tuple(made_of.shape), corpus.images.shape[1:]),
        "corpus": (made_of.corpus, corpus.content),
    }
    if spec is not None:
        compared["network"] = (
            made_of.network,
            _with_encoder(spec.name, "" if spec.encoder is None else spec.encoder.sha256),
        )
    for aspect, (made, now) in compared.items():
        misfit = MISFITS.get((use, aspect))
        if misfit is None or made == now or (made is None and not misfit.unstated):
            continue
        text = text_looked_for(made_of.text_check, corpus.text_check) if aspect == "corpus" else ""
        fields = {
            "name": made_of.name,
            "made": ", ".join(made_of.class_names) if aspect == "classes" else made,
            "now": ", ".join(corpus.class_names) if aspect == "classes" else now,
            "text": f" ({text})" if text else "",
            "where": where,
        }
        seen, expected, do = (
            text.format(**fields)
            for text in (misfit.unstated if made is None else misfit.seen, misfit.expected, misfit.do)
        )
        raise misfit.error(seen, expected=expected, do=do)
