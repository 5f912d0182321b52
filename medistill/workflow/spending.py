"""Spending: every release under differential privacy is in the ledger before it is made, and within the total."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from medistill.artifacts.atomic import private_folder, read_json, write_json
from medistill.artifacts.corpus import LEFT_OUT, NOT_STATED, Corpus
from medistill.artifacts.trajectories import Trajectories
from medistill.data.decoded import Decoded
from medistill.data.grouping import within_sites
from medistill.data.listing import FileEntry
from medistill.encoders.projection_store import public_people
from medistill.errors import ArtifactError, BudgetError, UsageError
from medistill.privacy.accounting import Guarantee, rounded_up
from medistill.privacy.ledger import HASH_BYTES, Ledger, ledger_root, new_entry, open_ledger
from medistill.privacy.spent import Release, Spent
from medistill.progress import Progress
from medistill.recipe import PatientIds, Recipe
from medistill.statistics.kept_release import is_kept

Use = Literal["release", "shadow"]
"""What experts are trained for. Those of an audit's shadows are removed when they were asked, and no release."""
PEOPLE, OWN, SITES, RELEASES = "people.json", "own", "sites", "releases.json"
"""In a corpus: who is in it, and there what nobody else shares, and the same site by site. In a store of experts: their
entries in the ledger."""


def keep_people(corpus: Corpus, folder: Path, accepted: Sequence[tuple[FileEntry, Decoded]], ids: PatientIds) -> None:
    """Write beside a corpus, in keyed hashes, who is in it: its folder, and each image's original, patient and study.

    Who they are is written once more without what other people may share: the folder, and a number in a table that
    stands at another site; and so once more for each site, since what a site releases by itself is of nobody else.

    Args:
        corpus: made of them.
        folder: that it was read from.
        accepted: what is known of each image.
        ids: as for `group`.

    Raises:
        ArtifactError: the ledger is damaged or cannot be written.
    """
    told, place = [], [("folder", str(folder.resolve())), *(("table", one.patient) for one, _ in accepted)]
    for _, image in accepted:
        told += [("original", image.fingerprint), ("patient", image.patient), ("study", image.study)]
    numbers = within_sites([one.site for one, _ in accepted], [one.patient for one, _ in accepted], ids)
    own = [*told, *(("table at a site", number) for number in numbers)]
    at_site: dict[str, list[tuple[str, str]]] = {}
    for (one, image), number in zip(accepted, numbers, strict=True):
        known = [("original", image.fingerprint), ("patient", image.patient), ("study", image.study)]
        at_site.setdefault(one.site or NOT_STATED, []).extend([*known, ("table at a site", number)])
    with open_ledger(ledger_root()) as ledger:

        def hashed(words: Sequence[tuple[str, str]]) -> str:
            return base64.b64encode(b"".join(sorted(ledger.known(word for word in words if word[1])))).decode()

        kept = {"people": hashed([*told, *place]), OWN: hashed(own)}
        sites = {name: hashed(words) for name, words in at_site.items()}
        write_json(corpus.path / PEOPLE, {"ledger": ledger.name, **kept, SITES: sites}, private=True)


def people_are_known(corpus: Corpus) -> bool:
    """Whether `keep_people` has written of this corpus, for the ledger that is used now."""
    with open_ledger(ledger_root()) as ledger:
        return bool(_kept_people(corpus, ledger) and _kept_people(corpus, ledger, OWN))


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

    Experts that are in the cache are in it already. One whose training was begun before, here or in a copy of the
    store, and that is not there, is trained from its beginning with other noise: it is another one, and spends again.

    Args:
        trajectories: their store.
        waiting: numbers of the experts that are about to be trained.
        use: what they are for; a shadow is entered nowhere.

    Returns:
        What is spent in all; None without differential privacy, and of a shadow.

    Raises:
        BudgetError: more would be spent than the recipe's total.
        UsageError: the space of the probe is of images that were declared public and are of the same people.
        ArtifactError: the ledger is damaged or cannot be written.
    """
    there = sum(trajectories.has(expert) for expert in range(trajectories.count))

    def again(ledger: Ledger) -> int:
        listed = _releases(trajectories.path)
        entered = {entry.id for entry in ledger.entries}
        covered = sum(count - ledger.trainings.get(name, count) for name, count in listed if name in entered)
        new = sum(count for name, count in listed if name not in entered)
        return max(0, len(waiting) - covered - max(0, new - there)) if listed else 0

    return _enter(corpus, recipe, trajectories.path, trajectories.count, again, progress, use, there=there)


def spend_release(
    corpus: Corpus, recipe: Recipe, state: Path, *, progress: Progress, use: Use = "release"
) -> Spent | None:
    """Enter one release of class statistics into the ledger before it is drawn, and say what is spent in all.

    Where it was drawn before, here or in a copy of the folder, and does not lie here, it has to be drawn, and is spent,
    a second time.

    Args:
        state: folder that holds the release, or will, and now gets the number of its entry.
        use: what it is for; a shadow is entered nowhere.

    Returns:
        As for `spend`.

    Raises:
        BudgetError: as for `spend`, and so is the next one.
        UsageError: likewise.
        ArtifactError: the ledger is damaged or cannot be written.
    """

    def again(ledger: Ledger) -> int:
        return int(any(name in ledger.drawn for name, _ in _releases(state)[-1:]) and not is_kept(state))

    return _enter(corpus, recipe, state, 1, again, progress, use)


def mark_drawn(state: Path) -> None:
    """Mark the entry of a run's release as drawn, right before the noise is: no other draw can go by it.

    Raises:
        UsageError: it was drawn since `spend_release` looked, as by a copy of the run.
        ArtifactError: the ledger is damaged or cannot be written.
    """
    with open_ledger(ledger_root()) as ledger:
        entered = {entry.id for entry in ledger.entries} - ledger.drawn
        name = next((name for name, _ in _releases(state)[-1:] if name in entered), None)
        if name is None:
            raise UsageError(
                f"the release of the run in {state.parent} was drawn meanwhile, as by a copy of the folder",
                expected="one run for each release in the ledger of privacy",
                do="use the set of the other run; or repeat the command with --resume, which spends anew",
            )
        ledger.marked(name)


def _enter(
    corpus: Corpus,
    recipe: Recipe,
    store: Path,
    count: int,
    again: Callable[[Ledger], int],
    progress: Progress,
    use: Use,
    *,
    there: int = 0,
) -> Spent | None:
    """Enter what a store is to hold, ``count`` of it and ``again`` more that are made a second time; of what is entered
    now ``there`` were made already."""
    guarantee = Guarantee.of(recipe)
    if guarantee is None or use == "shadow":
        return None
    with open_ledger(ledger_root()) as ledger:
        wanted = _releases(store) or [(secrets.token_hex(16), count)]
        more = again(ledger)
        wanted += [(secrets.token_hex(16), more)] if more else []
        kept = _kept_people(corpus, ledger)
        people = kept | ledger.known(_pictures(corpus))
        own = {name: Release.of(guarantee, experts) for name, experts in wanted}
        earlier = [entry for entry in ledger.of(people) if entry.id not in own]
        spent = Spent.of([entry.release for entry in earlier], list(own.values()))
        entered = {entry.id for entry in ledger.entries}
        missing = {name: release for name, release in own.items() if name not in entered}
        if missing:
            _refuse_public_patients(corpus, recipe, ledger)
            _refuse_beyond(spent, recipe)
            trainings = _begun_already(store, {name: experts for name, experts in wanted if name in missing}, there)
            listed = [{"id": name, "experts": experts} for name, experts in wanted]
            write_json(private_folder(store) / RELEASES, {"releases": listed}, private=True)
            entered_now = [new_entry(name, recipe.name, release, people) for name, release in missing.items()]
            ledger.added(entered_now, trainings)
            if not kept:
                progress.say(
                    "Who is in this corpus is known to the ledger of privacy by its images alone, since it was not "
                    "read by `prepare` under this recipe: in another size they are taken for other people."
                )
            _tell(spent, ledger, progress)
    return spent


def _begun_already(store: Path, missing: Mapping[str, int], there: int) -> dict[str, int]:
    """How many trainings of each entry were begun that this ledger does not have yet: those of experts that are there,
    where the store has had the entry before, as in another ledger."""
    known, found = dict(_releases(store)), {}
    for name, experts in missing.items():
        found[name] = min(there, experts) if name in known else 0
        there -= found[name]
    return found


def mark_training(store: Path) -> None:
    """Mark the training of an expert in the ledger, right before its first update: no other training can go by it.

    Args:
        store: of the experts.

    Raises:
        UsageError: as many as were entered were begun since `spend` looked, as by a copy of the store.
        ArtifactError: the ledger is damaged or cannot be written.
    """
    with open_ledger(ledger_root()) as ledger:
        begun = ledger.trainings  # of entries of this version; one of an earlier version covers no more
        name = next((name for name, count in _releases(store) if name in begun and begun[name] < count), None)
        if name is None:
            raise UsageError(
                f"the experts in {store} were trained meanwhile, as by another process or from a copy of the folder",
                expected="one training for each expert in the ledger of privacy (MEDISTILL_LEDGER), which ranks share",
                do="use the experts of the other one; or repeat the command, which spends anew",
            )
        ledger.begun(name)


def _releases(store: Path) -> list[tuple[str, int]]:
    """The entries of a store, and of how many experts, or releases, each is."""
    path = store / RELEASES
    if not path.is_file():
        return []
    try:
        return [(str(one["id"]), int(one["experts"])) for one in read_json(path, "releases of experts")["releases"]]
    except (KeyError, TypeError, ValueError):
        raise ArtifactError(
            f"{path} is damaged",
            expected="the entries in the ledger of what lies beside it",
            do="run `medistill purge`, or choose another --out; either spends anew",
        ) from None


def _refuse_public_patients(corpus: Corpus, recipe: Recipe, ledger: Ledger) -> None:
    """Refuse a space that was whitened, without noise, on people whom the guarantee is for.

    The space of another hospital does not say who is in it.
    """
    path = public_people(recipe.network.projection)
    if not recipe.network.projection or not path.is_file():
        return
    kept = _hashes(path, OWN, ledger)
    if not kept:
        raise UsageError(
            f"who is in the public images of the projection {recipe.network.projection[:12]} is not known to this "
            "ledger of privacy",
            expected="images that were read with it",
            do="name the public images again with --public FOLDER",
        )
    shared = kept & _own_people(corpus, ledger)
    if shared:
        raise UsageError(
            f"the images that were declared public and the patients to be protected have {len(shared)} pictures, "
            "patients or studies in common; nothing was spent",
            expected="public images of nobody who is in the corpus",
            do="name other images with --public (and --public-sites); where two tables number different people alike, "
            "give them other numbers",
        )


def keep_public_people(corpus: Corpus, projection: str) -> None:
    """Write beside a projection, in keyed hashes, who is in the public corpus that it was fitted to.

    Raises:
        ArtifactError: the ledger is damaged or cannot be written.
    """
    with open_ledger(ledger_root()) as ledger:
        own = base64.b64encode(b"".join(sorted(_own_people(corpus, ledger)))).decode()
        write_json(public_people(projection), {"ledger": ledger.name, OWN: own}, private=True)


def _own_people(corpus: Corpus, ledger: Ledger) -> frozenset[bytes]:
    return _kept_people(corpus, ledger, OWN) | ledger.known(_pictures(corpus))


def _pictures(corpus: Corpus) -> Iterator[tuple[str, str]]:
    """What is known of people by the images of a corpus alone, those that take part in it."""
    rows = np.flatnonzero(corpus.splits != LEFT_OUT)
    return (("pixels", hashlib.sha256(corpus.images[row].tobytes()).hexdigest()) for row in rows)


def _kept_people(corpus: Corpus, ledger: Ledger, which: str = "people") -> frozenset[bytes]:
    """Who is in a corpus; of one in which the images of all other sites take no part, who is at its site, where that
    was written down."""
    path, taken = corpus.path / PEOPLE, corpus.splits != LEFT_OUT
    sites = np.unique(corpus.sites[taken])
    if not taken.all() and len(sites) == 1:
        return _hashes(path, which, ledger, corpus.site_names[int(sites[0])]) or _hashes(path, which, ledger)
    return _hashes(path, which, ledger)


def _hashes(path: Path, which: str, ledger: Ledger, site: str = "") -> frozenset[bytes]:
    """What a file holds of people, or of those of a site, where it was written with this ledger; else nothing."""
    try:
        stored = read_json(path, "people of a corpus")
        told = stored[SITES][site] if site else stored[which]
        joined = base64.b64decode(told, validate=True) if stored["ledger"] == ledger.name else b""
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
            raise BudgetError(
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
