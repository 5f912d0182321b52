"""Selection: which listed and decoded files make up the corpus, and why the others do not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Literal

from medistill.data.decoded import Decoded
from medistill.data.dicom_view import DESCRIBING, lateral_by
from medistill.data.listing import FileEntry
from medistill.data.united import MOST_NAMES
from medistill.data.view import states_view, view_of
from medistill.errors import DataError
from medistill.nearest_names import did_you_mean
from medistill.recipe import DataRecipe

DESCRIBING_OR_CODED = ("ViewCodeSequence", *DESCRIBING)
"""DICOM elements that say a view where ViewPosition does not."""
KEEP = "--set data.view_policy=keep takes them, and lateral views with them."
Purpose = Literal["learn", "test"]
"""What a corpus is read for. To test on it alone, it needs neither every class nor any split."""
MOST_CLASSES = 100


def taken(listed: Sequence[FileEntry], recipe: DataRecipe) -> DataRecipe:
    """The settings with the sites and the classes that they come to among these files: what is read with the one, and
    what with the other, is the same corpus."""
    sites = _sites(listed, recipe)
    here = {one.label for one in listed if not one.category and (not sites or one.site in sites)}
    return recipe.model_copy(
        update={"sites": sites, "prefer_sites": (), "classes": recipe.classes or tuple(sorted(here))}
    )


def _sites(listed: Sequence[FileEntry], recipe: DataRecipe) -> tuple[str, ...]:
    """The sites that are taken; none stands for all."""
    present = {one.site for one in listed if one.label}
    return recipe.sites or (recipe.prefer_sites if set(recipe.prefer_sites) <= present else ())


def choose(
    listed: Sequence[FileEntry], recipe: DataRecipe, purpose: Purpose = "learn"
) -> tuple[list[FileEntry], list[str]]:
    """Leave out the sites, classes and views that the recipe does not take; also what the report has to say of it.

    Raises:
        DataError: a site or a class that the recipe names is not there (to test, one class is enough), or the classes
            cannot be meant.
    """
    listed, notes = _of_one_spelling(listed, recipe)
    present_sites = sorted({one.site for one in listed if one.label})
    sites = _sites(listed, recipe)
    if sites != recipe.sites:
        notes.append(f"Of {len(present_sites)} sites the recipe takes {' and '.join(sites)} alone.")
    _refuse_absent("site", "sites", sites, present_sites)
    chosen = [
        _left_out(one, "site not chosen", f"the recipe takes the sites {', '.join(sites)}")
        if sites and one.site not in sites
        else one
        for one in listed
    ]
    present_classes = sorted({one.label for one in chosen if not one.category})
    if purpose == "learn" or not set(recipe.classes) & set(present_classes):
        _refuse_absent("class", "classes", recipe.classes, present_classes)
    _refuse_other_spelling(recipe.classes, present_classes)
    if not recipe.classes:
        _refuse_many_or_alike(present_classes)
    return [_by_class_and_view(one, recipe) for one in chosen], notes


def _of_one_spelling(listed: Sequence[FileEntry], recipe: DataRecipe) -> tuple[Sequence[FileEntry], list[str]]:
    """Sites that differ in upper and lower case alone are one, called as the recipe or most images have it."""
    images = Counter(one.site for one in listed)
    ranked = [*recipe.sites, *recipe.prefer_sites, *(site for site, _ in images.most_common())]
    spelling: dict[str, str] = {}
    for site in ranked:
        spelling.setdefault(site.casefold(), site)
    others = [site for site in images if spelling[site.casefold()] != site]
    if not others:
        return listed, []
    return [replace(one, site=spelling[one.site.casefold()]) for one in listed], [
        f"Sites that differ in upper and lower case alone count as one ({len(others)} more ways of writing one)."
    ]


def _by_class_and_view(one: FileEntry, recipe: DataRecipe) -> FileEntry:
    if recipe.classes and one.label not in recipe.classes:
        return _left_out(one, "class not chosen", f"the recipe takes the classes {', '.join(recipe.classes)}")
    if recipe.view_policy == "reject" and view_of(one.view) == "lateral":
        return _left_out(one, "lateral view", "the table says that it is lateral (data.view_policy is reject)")
    return one


def _left_out(one: FileEntry, category: str, reason: str) -> FileEntry:
    return one if one.category else replace(one, category=category, reason=reason)


def _refuse_absent(noun: str, option: str, wanted: Sequence[str], present: Sequence[str]) -> None:
    absent = [name for name in wanted if name not in present]
    if absent:
        has = ", ".join(name or "(no name)" for name in present) or "none"
        near = did_you_mean(absent[0], present)
        if len(present) > MOST_NAMES:
            has, near = f"{len(present)} others", ""  # so many may be patients
        raise DataError(
            f"there is no {noun} {' or '.join(absent)}{near}",
            expected=f"a {noun} that is there; this corpus has {has}",
            do=f"correct --{option}, or give the {noun} that name in the folders or the table",
        )


def _refuse_other_spelling(wanted: Sequence[str], present: Sequence[str]) -> None:
    """A class that is there under another spelling of its name would be left aside as if it were another one."""
    for absent in (name for name in wanted if name not in present):
        for other in (name for name in present if name not in wanted):
            if letters(absent) == letters(other):
                raise DataError(
                    f"the corpus has a class {other}, and none that is written {absent}",
                    expected="one name for one class",
                    do=f"write it {absent} in the folders or in the table",
                )


def letters(name: str) -> str:
    """Letters and digits of a name, in no case."""
    return "".join(filter(str.isalnum, name.casefold()))


def _refuse_many_or_alike(classes: Sequence[str]) -> None:
    if len(classes) > MOST_CLASSES:
        raise DataError(
            f"{len(classes)} different names stand where classes were looked for; they look like patients or files",
            expected=f"at most {MOST_CLASSES} classes: a folder a class, sites with a folder a class, or a table",
            do="name a table with --labels, or its right column with --set data.label_column=NAME",
        )
    for first, second in pairwise(sorted(classes, key=str.casefold)):
        if first.casefold() == second.casefold():
            raise DataError(
                f"the classes {first} and {second} differ in upper and lower case alone",
                expected="one name for one class: else a network learns to tell apart what is the same",
                do=f"give them one name, unite them with --set data.class_map.{first}={first},{second}, or take one of "
                "them with --classes",
            )


def refuse_unstated_views(listed: Sequence[FileEntry], decoded: Sequence[Decoded], recipe: DataRecipe) -> list[Decoded]:
    """Refuse what nothing says to be frontal though it could, and what is described as lateral, unless the table says
    that it is frontal."""
    if recipe.view_policy == "keep":
        return list(decoded)
    return [_by_view(one, image) for one, image in zip(listed, decoded, strict=True)]


def _by_view(one: FileEntry, image: Decoded) -> Decoded:
    if image.category or view_of(one.view) == "frontal":
        return image
    if view_of(image.view) == "lateral":
        return Decoded(None, category="lateral view", reason=lateral_by(image.view_by))
    if image.unstated:
        reason = "neither it nor the table says that it is frontal (data.view_policy is reject)"
        return Decoded(None, category="unknown view", reason=reason)
    if states_view(one.view) and not image.view:
        reason = "the table says a view of it that is not known (data.view_policy is reject)"
        return Decoded(None, category="unknown view", reason=reason)
    return image


def told_of_views(listed: Sequence[FileEntry], decoded: Sequence[Decoded]) -> list[str]:
    """Notes: how many views another element than ViewPosition decided, and how many images nothing says a view of."""
    pairs = list(zip(listed, decoded, strict=True))
    taken = [(one, image) for one, image in pairs if not image.category]
    fields = Counter(_decided_by(one, image) for one, image in taken)
    told = [f"{field} {fields[field]}" for field in DESCRIBING_OR_CODED if fields[field]]
    unknown = sum(image.category == "unknown view" for _, image in pairs)
    silent = sum(image.unstated and view_of(one.view) == "unknown" for one, image in taken)
    return [
        *([f"Views that ViewPosition does not say were taken from: {', '.join(told)}."] if told else []),
        *([f"Files refused since nothing says that they are frontal: {unknown}. {KEEP}"] if unknown else []),
        *([f"DICOM images that do not say their view: {silent}. They were taken."] if silent else []),
    ]


def why_frontal(one: FileEntry, image: Decoded) -> str:
    """Which element says the view of an image that was taken, for the manifest; empty where it is ViewPosition."""
    field = _decided_by(one, image)
    return f"its view is taken from {field}" if field in DESCRIBING_OR_CODED else ""


def _decided_by(one: FileEntry, image: Decoded) -> str:
    return "" if view_of(one.view) != "unknown" else image.view_by


def refuse_copies(listed: Sequence[FileEntry], decoded: Sequence[Decoded]) -> list[Decoded]:
    """Refuse copies of an image but the first, and every one of them where they have different labels."""
    labels: dict[str, set[str]] = {}
    for one, image in zip(listed, decoded, strict=True):
        if not image.category:
            labels.setdefault(image.fingerprint, set()).add(one.label)
    seen: set[str] = set()
    kept = []
    for image in decoded:
        if image.category:
            kept.append(image)
        elif len(labels[image.fingerprint]) > 1:
            reason = "the same pixels are found under another label too"
            kept.append(Decoded(None, category="two labels", reason=reason))
        elif image.fingerprint in seen:
            kept.append(Decoded(None, category="duplicate", reason="its pixels are those of an earlier file"))
        else:
            seen.add(image.fingerprint)
            kept.append(image)
    return kept
