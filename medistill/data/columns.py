"""Columns: which column of a table holds what, by the names that people give them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from medistill.data.words import plain
from medistill.errors import DataError
from medistill.recipe import DataRecipe

USUAL: dict[str, tuple[str, ...]] = {
    "file": (
        "file",
        "filename",
        "file_name",
        "path",
        "filepath",
        "file_path",
        "image",
        "image_path",
        "image_id",
        "image_index",
        "imageid",
        "image_name",
        "dicom_id",
    ),
    "label": (
        "label",
        "class",
        "class_name",
        "finding",
        "finding_label",
        "finding_labels",
        "diagnosis",
        "category",
        "labels",
    ),
    "patient": (
        "group_id",
        "patient_id",
        "patientid",
        "patient",
        "subject_id",
        "subject",
        "case_id",
        "person_id",
        "patient_no",
        "patient_number",
        "mrn",
    ),
    "site": ("site", "hospital", "centre", "center", "institution", "source"),
    "view": (
        "view",
        "view_position",
        "viewposition",
        "projection",
        "frontal/lateral",
        "ap/pa",
        "viewcodesequence_codemeaning",
        "viewposition_dicom",
    ),
    "split": ("split", "subset", "partition", "fold", "set"),
    "sex": ("sex", "gender", "patient_sex", "patientsex", "patient_gender"),
    "age": ("age", "patient_age", "patientage", "age_years"),
}
"""Names under which each column is looked for, in order, in any case."""
ELSEWHERE: dict[str, tuple[str, ...]] = {
    "file": (
        "datei", "dateiname", "dateipfad", "pfad", "bild", "bilddatei", "bildname", "bildpfad",
        "fichier", "nom_fichier", "nom_du_fichier", "nom_de_fichier", "chemin", "chemin_du_fichier", "cliche",
        "archivo", "nombre_archivo", "nombre_de_archivo", "nombre_del_archivo", "fichero", "ruta", "imagen",
    ),
    "label": (
        "klasse", "befund", "diagnose", "kategorie", "bezeichnung",
        "classe", "etiquette", "diagnostic", "categorie", "resultat",
        "clase", "etiqueta", "diagnostico", "hallazgo", "hallazgos", "categoria", "resultado",
    ),
    "patient": (
        "patienten_id", "patientenid", "patientennummer", "patienten_nr", "patientnr", "pat_id", "fall", "fall_id",
        "fallnummer",
        "id_patient", "n_patient", "no_patient", "numero_patient", "numero_de_patient", "identifiant_patient", "ipp",
        "paciente", "id_paciente", "n_paciente", "no_paciente", "paciente_id", "numero_paciente", "numero_de_paciente",
    ),
    "site": (
        "klinik", "krankenhaus", "standort", "zentrum", "einrichtung",
        "hopital", "etablissement", "clinique",
        "centro", "sitio", "institucion", "clinica",
    ),
    "view": (
        "ansicht", "projektion", "strahlengang", "aufnahmerichtung",
        "vue", "incidence",
        "vista", "proyeccion",
    ),
    "split": (
        "aufteilung", "teilmenge",
        "sous_ensemble", "jeu", "repartition",
        "particion", "conjunto", "subconjunto",
    ),
    "sex": ("geschlecht", "sexe", "sexo", "genero"),
    "age": ("alter", "patientenalter", "alter_jahre", "edad", "edad_anos"),
}  # fmt: skip
"""The same in German, French and Spanish, without accents; English names go before them."""


def usual(name: str) -> tuple[str, ...]:
    """Every name under which a column is looked for, as `comparable` writes names."""
    return USUAL[name] + ELSEWHERE[name]


def comparable(column: str) -> str:
    """The name of a column in lower case, without accents, with underscores for what stands between words."""
    return re.sub(r"[\s.\-°]+", "_", plain(column)).strip("_")


def find_columns(header: Sequence[str], recipe: DataRecipe, table: Path) -> dict[str, int | None]:
    """Index of the column for each name of `USUAL`, None where there is none.

    Raises:
        DataError: a column that the recipe names, or that of the files, is not there, or one that counts is there
            twice.
    """
    lowered = [comparable(column) for column in header]
    found: dict[str, int | None] = {}
    for name in USUAL:
        chosen = getattr(recipe, f"{name}_column")
        if chosen and chosen not in header:
            raise DataError(
                f"{table} has no column '{chosen}'; {_has(header)}",
                expected=f"the column that data.{name}_column names",
                do=f"correct data.{name}_column",
            )
        place = next((lowered.index(known) for known in usual(name) if known in lowered), None)
        found[name] = header.index(chosen) if chosen else place
    if found["file"] is None:
        raise no_column("file", header, table)
    for name, column in found.items():
        if name != "view" and column is not None and header.count(header[column]) > 1:
            raise DataError(
                f"{table} has {header.count(header[column])} columns named '{header[column]}'",
                expected="one name for one column",
                do=f"rename one of them; data.{name}_column then says which is meant",
            )
    return found


def view_columns(first: int | None, header: Sequence[str], recipe: DataRecipe) -> list[int]:
    """Every usual column of views: CheXpert says in one whether an image is frontal, and in another one whether AP.

    Args:
        first: the column that `find_columns` found.
    """
    if recipe.view_column or first is None:
        return [] if first is None else [first]
    return [number for number, column in enumerate(header) if comparable(column) in usual("view")]


def no_column(name: str, header: Sequence[str], table: Path) -> DataError:
    """That a column that cannot be done without is not there."""
    several = " or a column of 1 and 0 for each class with data.finding_columns" if name == "label" else ""
    return DataError(
        f"{table} has no {name} column; {_has(header)}",
        expected=f"a first line with a column named {', '.join(USUAL[name][:4])} or the like",
        do=f"name it with --set data.{name}_column=NAME{',' * bool(several)}{several}",
    )


def _has(header: Sequence[str]) -> str:
    """Which columns there are; a first line that names no usual one may be a row with a patient's name."""
    lowered = {comparable(column) for column in header}
    titled = any(known in lowered for name in USUAL for known in usual(name))
    return f"it has {', '.join(header)}" if titled else "none of those in its first line is known"
