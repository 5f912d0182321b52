"""The same corpus: a run that goes on is held to the one that it began with, and is told what changed since."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medistill.artifacts.atomic import read_json
from medistill.artifacts.cache import cache_root
from medistill.artifacts.corpus import Corpus, load_corpus
from medistill.artifacts.provenance import Provenance
from medistill.artifacts.text_check import TextCheck
from medistill.errors import ArtifactError, UsageError


def refuse_another_corpus(run: Path, recorded: Mapping[str, Any], corpus: Corpus) -> None:
    """Refuse to go on with a run on other images, labels or splits than it began with.

    Args:
        run: its folder.
        recorded: what ``run.json`` says of its corpus; empty where it says nothing yet.
        corpus: as it is read now.

    Raises:
        UsageError: it is another one; how many files are gone, new or changed is told, never which.
    """
    began_with = _content_of_set(run) or recorded.get("content")
    if began_with in (None, corpus.content):
        return
    raise UsageError(
        f"the data make another corpus than the one that the run in {run} began with: "
        f"{_what_changed(str(began_with), recorded, corpus)}",
        expected="the same files, labels and patients: a set must not be tested on images that it was made from",
        do="restore them and repeat the command; or begin a new run, with another --out",
    )


def _content_of_set(run: Path) -> str | None:
    """The corpus that a finished set was made from."""
    manifest = run / "set" / "manifest.json"
    known = read_json(manifest, "distilled set").get("provenance") if manifest.is_file() else None
    return Provenance.read(known).corpus if isinstance(known, dict) else None


def _what_changed(began_with: str, recorded: Mapping[str, Any], corpus: Corpus) -> str:
    try:
        return changes(load_corpus(cache_root() / "corpora" / began_with), corpus)
    except ArtifactError:  # it was purged: what the run wrote down is left
        pass
    if recorded.get("content") != began_with:
        return "it is no longer in the cache, so what changed cannot be told"
    then, now = (
        Counter({name: sum(of[name] for of in counts.values()) for name in next(iter(counts.values()), {})})
        for counts in (recorded.get("counts", {}), corpus.counts())
    )
    apart = [f"{name} {then[name]} then, {now[name]} now" for name in then | now if then[name] != now[name]]
    files = f"{recorded.get('found')} files then, {corpus.found} now"
    return f"{files}; images of a class: {', '.join(apart) if apart else 'as many as then, so others'}"


def changes(then: Corpus, now: Corpus) -> str:
    """How many files are gone, new or changed, by class: names of files can name people."""
    before, after = ({row.file: row.row for row in corpus.manifest} for corpus in (then, now))
    both = before.keys() & after.keys()
    used = [(before[file], after[file]) for file in both if before[file] >= 0 and after[file] >= 0]
    other = [(old, new) for old, new in used if not _same_image(then, old, now, new)]
    told = [
        _counted("gone", [_class(then, before[file]) for file in before.keys() - both]),
        _counted("new", [_class(now, after[file]) for file in after.keys() - both]),
        _counted("changed", [_class(then, old) for old, _ in other]),
        _counted("no longer used", [_class(then, before[f]) for f in both if before[f] >= 0 > after[f]]),
        _counted("used now and not then", [_class(now, after[f]) for f in both if after[f] >= 0 > before[f]]),
    ]
    moved = sum(int(then.splits[old] != now.splits[new]) for old, new in used)
    told += [f"{moved} of the same images are in another split"] if moved else []
    told.append(text_looked_for(then.text_check, now.text_check))
    return "; ".join(filter(None, told)) or "patients, sites or what is known of the images differ"


def text_looked_for(then: TextCheck | None, now: TextCheck | None) -> str:
    """What looked for burnt-in text, where that is not the same: other versions of a reader are enough for that."""
    if then == now:
        return ""
    words = ["unchecked" if one is None else f"{one.policy}, by {one.by}" for one in (then, now)]
    return f"burnt-in text was treated as {words[0]} then, as {words[1]} now"


def _same_image(then: Corpus, old: int, now: Corpus, new: int) -> bool:
    return _class(then, old) == _class(now, new) and np.array_equal(then.images[old], now.images[new])


def _class(corpus: Corpus, row: int) -> str:
    return corpus.class_names[corpus.labels[row]] if row >= 0 else ""


def _counted(what: str, classes: Iterable[str]) -> str:
    """Such as "6 files gone (Normal 4, Pneumonia 2)"; empty where there are none."""
    found = Counter(classes)
    by_class = ", ".join(f"{name or 'not used'} {count}" for name, count in sorted(found.items()))
    return f"{found.total()} {'file' if found.total() == 1 else 'files'} {what} ({by_class})" if found else ""
