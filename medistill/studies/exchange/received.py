"""Received: sets that other hospitals really sent, as senders of a study, each checked before anything is done with it.

A set that does not stand the checks is named and left out; nothing of a bundle is read beyond what `medistill verify`
reads of it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from medistill.artifacts.atomic import private_folder, read_json, write_json
from medistill.artifacts.corpus import NOT_STATED, Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.errors import MedistillError, UsageError
from medistill.privacy.accounting import Guarantee
from medistill.ranks.ranks import Ranks
from medistill.recipe.limits import refuse_large
from medistill.report.exchange_received import SentSet
from medistill.sharing.lineage import source_parts
from medistill.sharing.merge_source import MergeSource
from medistill.sharing.merging import merge_sets
from medistill.sharing.signer import demanded_keys
from medistill.sharing.statement import sender_words
from medistill.studies.exchange.fitting import fitted
from medistill.training.context import Context
from medistill.visible import MOST_NAME, visible
from medistill.workflow.received import ReceivedSet, receive

LIST = "senders.json"
"""Beside the sets that the leading rank took: who sent them."""
HOME = "this hospital"
"""Name of the site of a corpus that states none, where sets were received."""


@dataclass(frozen=True)
class Senders:
    """Who sent sets.

    Attributes:
        told: one a set that was named, in order.
        sets: name of a sender -> its set; those that were left out have none.
    """

    told: tuple[SentSet, ...] = ()
    sets: Mapping[str, MergeSource] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Of the senders whose sets are taken."""
        return tuple(self.sets or ())

    @property
    def digests(self) -> dict[str, str]:
        """What was named -> the SHA-256 of its set; "" where it was left out."""
        return {one.name: one.sha256 for one in self.told}

    @classmethod
    def of(cls, paths: Sequence[str | Path], trust: Sequence[str], context: Context) -> Senders:
        """Open sets and check them: whole, signed as `receive` asks, and fit for the study's corpus and network.

        Args:
            paths: bundles, folders of sets or of runs.
            trust: keys of which one must have signed each (see `receive`).
            context: of the study; its progress is told of each set, whether it is taken or left out.

        Raises:
            UsageError: ``trust`` names no key, or nothing was received that it could be asked of; or one site alone
                would be left.
        """
        if demanded_keys(trust) and not paths:
            raise UsageError(
                "--trust was given, and nothing was received",
                expected="bundles that one of these keys must have signed",
                do="name them with --received, or leave out --trust",
            )
        told, taken = [], set(context.corpus.site_names)
        sets: dict[str, MergeSource] = {}
        for path in paths:
            name = _name(Path(path), taken)
            taken.add(name)
            try:
                received = receive(path, trust=trust)
                refuse_large(received.distilled.provenance.recipe, f"the recipe inside {name}", "refuse")
                one = replace(received, name=name, distilled=fitted(name, received.distilled, context))
                source = MergeSource(name, one.distilled, one.set_digest, one.sender, one.signer)
                source_parts(source)
                if sets:
                    merge_sets([*sets.values(), source])  # refused here, not later
            except MedistillError as error:
                told.append(_left_out(name, path, error, context))
                continue
            context.progress.say(visible(one.origin))
            told.append(_told(one))
            sets[name] = source
        return cls(tuple(told), sets).enough(context.corpus)

    def keep(self, folder: Path) -> Senders:
        """Write what was taken into a folder, from which other ranks read it; return the senders.

        Args:
            folder: anything in it goes.
        """
        shutil.rmtree(folder, ignore_errors=True)
        private_folder(folder)
        listed = []
        for n, source in enumerate((self.sets or {}).values()):
            source.distilled.save(private_folder(folder / str(n)))
            listed.append([source.name, source.set_digest, source.sender, source.signer])
        write_json(folder / LIST, {"told": [asdict(one) for one in self.told], "sets": listed}, private=True)
        return self

    @classmethod
    def kept(cls, folder: Path) -> Senders:
        """Read what `keep` wrote, which the leading rank has checked.

        Raises:
            ArtifactError: it cannot be read.
        """
        written = read_json(folder / LIST, "sets that the leading rank took")
        sets = {
            name: MergeSource(name, DistilledSet.load(folder / str(n)), digest, sender, signer)
            for n, (name, digest, sender, signer) in enumerate(written["sets"])
        }
        return cls(tuple(SentSet(**one) for one in written["told"]), sets)

    def beside(self, own: Mapping[str, MergeSource], context: Context) -> Senders:
        """Return the senders whose sets fit those that were made here.

        Raises:
            UsageError: one site alone would be left.
        """
        told, sets = list(self.told), dict(self.sets or {})
        taken = list(own.values())
        for n, one in enumerate(told):
            if own and one.name in sets:
                try:
                    merge_sets([*taken, sets[one.name]])
                except MedistillError as error:
                    told[n] = _left_out(one.name, one.name, error, context)
                    del sets[one.name]
                else:
                    taken.append(sets[one.name])
        return Senders(tuple(told), sets).enough(context.corpus)

    def enough(self, corpus: Corpus) -> Senders:
        """Return the senders.

        Raises:
            UsageError: sets were received, none of them is taken, and the corpus has one site.
        """
        known = [name for name in corpus.site_names if name != NOT_STATED]
        if self.told and not self.sets and len(known) < 2:
            raise UsageError(
                f"none of {len(self.told)} received sets can be taken; "
                f"{'; '.join(f'{one.name}: {one.reason}' for one in self.told)}",
                expected="one at least, or nothing reaches the one site that is here",
                do=" ".join(dict.fromkeys(f"{one.do.rstrip('.')}." for one in self.told)),
            )
        return self


def senders_of(
    paths: Sequence[str | Path], trust: Sequence[str], context: Context, ranks: Ranks, folder: Path
) -> Senders:
    """Open sets and check them (see `Senders.of`): of several ranks the leading one does, and the others read what it
    took. So all have the same, and a bundle need lie where the leading one is alone.

    Args:
        paths: as for `Senders.of`, and so are ``trust`` and ``context``.
        ranks: of the study.
        folder: that all of them see; nothing stays in it.
    """
    if ranks.size == 1 or not (paths or trust):
        return Senders.of(paths, trust, context)
    found = ranks.first(lambda: Senders.of(paths, trust, context).keep(folder), lambda: Senders.kept(folder))
    ranks.agree(found.digests, "let all ranks see the same folder with --out")
    ranks.lead(lambda: shutil.rmtree(folder, ignore_errors=True))
    return found


def at_home(corpus: Corpus) -> Corpus:
    """Return a corpus of one site: the images of one that states no site are of `HOME`; others stay as they are."""
    return replace(corpus, site_names=(HOME,)) if corpus.site_names == (NOT_STATED,) else corpus


def _name(path: Path, taken: set[str]) -> str:
    """What a sender is called: by its file or folder, and by a number where there is another one of that name."""
    named = Path(os.path.realpath(path))
    name = visible(named.parent.name if named.name == "set" else named.name, most=MOST_NAME)
    number = 2
    while (found := name if number == 2 and name not in taken else f"{name} ({number})") in taken:
        number += 1
    return found


def _left_out(name: str, path: str | Path, error: MedistillError, context: Context) -> SentSet:
    """Say that a set is left out, without the folders in which it lies."""
    seen, do = (text.replace(str(Path(path)), name) for text in (error.seen, error.do))
    context.progress.say(f"{name} is left out: {seen.rstrip('.')}. What to do: {do.rstrip('.')}.")
    return SentSet(name, reason=seen, do=f"What to do: {do.rstrip('.')}.")


def _told(one: ReceivedSet) -> SentSet:
    promised = Guarantee.of_set(one.distilled.provenance)
    return SentSet(
        name=one.name,
        images=one.distilled.shown,
        origin=sender_words(one.sender, one.signer) if one.bundled else "nobody: a folder bears no signature",
        signer=one.signer or "",
        sha256=one.set_digest,
        verdict=one.verdict,
        risk=one.risk,
        guarantee="" if promised is None else promised.sentence,
    )
