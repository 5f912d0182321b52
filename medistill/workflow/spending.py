"""Spending: every release under differential privacy is in the ledger before it is made, and within the total."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from medistill.artifacts.atomic import private_folder, read_json, write_json
from medistill.artifacts.corpus import Corpus
from medistill.artifacts.trajectories import Trajectories
from medistill.data.decoded import Decoded
from medistill.data.listing import FileEntry
from medistill.errors import ArtifactError, UsageError
from medistill.privacy.accounting import Guarantee, rounded_up
from medistill.privacy.ledger import HASH_BYTES, Ledger, ledger_root, new_entry, open_ledger
from medistill.privacy.spent import Release, Spent
from medistill.progress import Progress
from medistill.recipe import Recipe

Use = Literal["release", "shadow"]
"""What experts are trained for. Those of an audit's shadows are removed when they were asked, and no release."""
PEOPLE, RELEASES, TRAINED = "people.json", "releases.json", "trained"
"""In a corpus: who is in it. In a store of experts: their entries in the ledger, and which were ever trained."""


def keep_people(corpus: Corpus, folder: Path, accepted: Iterable[tuple[FileEntry, Decoded]]) -> None:
    """Write beside a corpus, in keyed hashes, who is in it: its folder, and each image's original, patient and study.

    Raises:
        ArtifactError: the ledger is damaged or cannot be written.
    """
    words = [("folder", str(folder.resolve()))]
    for one, image in accepted:
        words += [("original", image.fingerprint), ("patient", image.patient), ("study", image.study)]
        words += [("table", one.patient)]
    with open_ledger(ledger_root()) as ledger:
        hashes = ledger.known(word for word in words if word[1])
        joined = base64.b64encode(b"".join(sorted(hashes))).decode()
        write_json(corpus.path / PEOPLE, {"ledger": ledger.name, "people": joined}, private=True)


def people_are_known(corpus: Corpus) -> bool:
    """Whether `keep_people` has written of this corpus, for the ledger that is used now."""
    with open_ledger(ledger_root()) as ledger:
        return bool(_kept_people(corpus, ledger))


def spend(
    corpus: Corpus,
    recipe: Recipe,
    trajectories: Trajectories,
    waiting: Sequence[int],
    progress: Progress,
    *,
    use: Use = "release",
) -> Spent | None:
    """Enter experts into the ledger, if they are not there yet, and say what is spent in all.

    Experts that are in the cache, or that an interrupted run goes on with, are in it already. One that is trained again
    is another one, and spends again.

    Args:
        trajectories: their store.
        waiting: numbers of the experts that are about to be trained.
        use: what they are for; a shadow is entered nowhere.

    Returns:
        What is spent in all; None without differential privacy, and of a shadow.

    Raises:
        UsageError: more would be spent than the recipe's total.
        ArtifactError: the ledger is damaged or cannot be written.
    """
    guarantee = Guarantee.of(recipe)
    if guarantee is None or use == "shadow":
        return None
    again = sum(1 for expert in waiting if (trajectories.path / TRAINED / str(expert)).is_file())
    with open_ledger(ledger_root()) as ledger:
        wanted = _releases(trajectories) or [(secrets.token_hex(16), trajectories.count)]
        wanted += [(secrets.token_hex(16), again)] if again else []
        kept = _kept_people(corpus, ledger)
        pixels = (("pixels", hashlib.sha256(image.tobytes()).hexdigest()) for image in corpus.images)
        people = kept | ledger.known(pixels)
        own = {name: Release.of(guarantee, experts) for name, experts in wanted}
        earlier = [entry for entry in ledger.of(people) if entry.id not in own]
        spent = Spent.of([entry.release for entry in earlier], list(own.values()))
        entered = {entry.id for entry in ledger.entries}
        missing = {name: release for name, release in own.items() if name not in entered}
        if missing:
            _refuse_beyond(spent, recipe)
            listed = [{"id": name, "experts": experts} for name, experts in wanted]
            write_json(trajectories.path / RELEASES, {"releases": listed}, private=True)
            ledger.added([new_entry(name, recipe.name, release, people) for name, release in missing.items()])
            if not kept:
                progress.say(
                    "Who is in this corpus is known to the ledger of privacy by its images alone, since it was not "
                    "read by `prepare` under this recipe: in another size they are taken for other people."
                )
            _tell(spent, ledger, progress)
    return spent


def mark_trained(trajectories: Trajectories, expert: int) -> None:
    """Remember that an expert was trained, also where its file is lost later."""
    (private_folder(trajectories.path / TRAINED) / str(expert)).touch()


def _releases(trajectories: Trajectories) -> list[tuple[str, int]]:
    """The entries of a store, and of how many experts each is."""
    path = trajectories.path / RELEASES
    if not path.is_file():
        return []
    try:
        return [(str(one["id"]), int(one["experts"])) for one in read_json(path, "releases of experts")["releases"]]
    except (KeyError, TypeError, ValueError):
        raise ArtifactError(
            f"{path} is damaged",
            expected="the experts' entries in the ledger",
            do="run `medistill purge`, then the same command again: it spends anew",
        ) from None


def _kept_people(corpus: Corpus, ledger: Ledger) -> frozenset[bytes]:
    try:
        stored = read_json(corpus.path / PEOPLE, "people of a corpus")
        joined = base64.b64decode(stored["people"], validate=True) if stored["ledger"] == ledger.name else b""
    except (ArtifactError, KeyError, TypeError, ValueError):
        return frozenset()
    return frozenset(joined[n : n + HASH_BYTES] for n in range(0, len(joined), HASH_BYTES))


def _refuse_beyond(spent: Spent, recipe: Recipe) -> None:
    for name, reached in (("total_epsilon", spent.epsilon), ("total_delta", spent.delta)):
        most = getattr(recipe.privacy, name)
        if most and (reached is None or reached > most):
            before = _amount(spent.others_epsilon, spent.others_delta)
            earlier = (
                "nothing was spent before on these people"
                if spent.releases == 1
                else f"earlier releases from the same people ({spent.releases - 1}) spent {before}"
            )
            raise UsageError(
                f"privacy.{name} = {most:g} would be exceeded: {earlier}, and with this run it would be "
                f"{_amount(spent.epsilon, spent.delta)}; nothing was trained",
                expected="a run that stays within the total",
                do="use the sets that are there, lower privacy.epsilon (--dp-epsilon) or privacy.delta, or decide "
                "openly to raise the total; `medistill ledger` lists what was spent",
            )


def _amount(epsilon: float | None, delta: float) -> str:
    known = "an epsilon that cannot be told" if epsilon is None else f"epsilon {rounded_up(epsilon)}"
    return f"{known} at delta {delta:.3g}"


def _tell(spent: Spent, ledger: Ledger, progress: Progress) -> None:
    if spent.releases > 1:
        progress.say(f"This is entered into the ledger of privacy. {spent.sentence}")
    elif not ledger.entries:
        progress.say(
            "A new ledger of privacy begins (`medistill ledger` names its folder): what was spent before is not known "
            "to it."
        )
