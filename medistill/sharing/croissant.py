"""Croissant: ``croissant.json``, what lies in a bundle in the form that catalogues and loaders of data sets read.

MLCommons Croissant 1.0 (https://docs.mlcommons.org/croissant/docs/croissant-spec.html). Read where a bundle was
unpacked: files are named by their place beside ``croissant.json``.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from medistill.artifacts.distilled_set import DistilledSet
from medistill.report.encoder_statements import made_for
from medistill.report.target_statements import BY_TARGETS
from medistill.report.tile_statements import tile_sentence
from medistill.sharing.labels import COLUMN_OF, COLUMNS, LABELS, soft_classes, soft_column
from medistill.sharing.statement import Statement

TENSORS = "images.safetensors"
RECORDS = "records"
NO_DATE = "1980-01-01"
"""Croissant asks for a date; this one, which archives also begin with, stands for none."""
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The context that the specification prescribes."""


def croissant(distilled: DistilledSet, statement: Statement, tensors: bytes, labels: bytes) -> bytes:
    """Describe the records of a set.

    Args:
        tensors: ``images.safetensors``.
        labels: ``labels.csv``.
    """
    digest = hashlib.sha256(tensors).hexdigest()
    count = len(distilled.labels)
    whole = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": f"medistill-{digest[:12]}",
        "description": (
            f"{count} synthetic images in {len(distilled.class_names)} classes, distilled with medistill to train "
            f"networks on. {_encoder(distilled)}{_targets(distilled)}{_tiles(distilled)}{statement.date_sentence}"
        ),
        "license": statement.licence,
        "version": "1.0.0",
        "datePublished": f"{statement.month}-01" if statement.month else NO_DATE,
        "citeAs": f"A distilled set of medical images, made with medistill; {TENSORS} has the SHA-256 {digest}",
        **({"creator": {"@type": "sc:Organization", "name": statement.sender}} if statement.sender else {}),
        "rai:dataUseCases": statement.intended_use,
        "distribution": [
            _file(TENSORS, "application/octet-stream", tensors, "The images and labels in full precision."),
            _file(LABELS, "text/csv", labels, "A line an image: class, weight and stage."),
            {
                "@type": "cr:FileSet",
                "@id": "previews",
                "name": "previews",
                "description": "The images as a person sees them, 8 bits a channel.",
                "encodingFormat": "image/png",
                "includes": "previews/*.png",
            },
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": RECORDS,
                "name": RECORDS,
                "description": "One record an image.",
                "key": {"@id": f"{RECORDS}/file"},
                "field": _fields(distilled),
            }
        ],
    }
    return (json.dumps(whole, indent=2, ensure_ascii=False) + "\n").encode()


def _encoder(distilled: DistilledSet) -> str:
    """For which encoder the images were made; empty where for none."""
    encoder = distilled.provenance.encoder
    return "" if encoder is None else f"{made_for(encoder)} "


def _targets(distilled: DistilledSet) -> str:
    """What target vectors are, and where they lie, since no column has them; empty where there are none."""
    return f"{BY_TARGETS} They lie in {TENSORS} as targets. " if distilled.by_targets else ""


def _tiles(distilled: DistilledSet) -> str:
    """How networks are shown the images; empty where as they are."""
    told = tile_sentence(distilled.tiles, distilled.shown)
    return f"{told} " if told else ""


def _file(name: str, kind: str, data: bytes, description: str) -> dict[str, str]:
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "description": description,
        "contentUrl": name,
        "contentSize": f"{len(data)} B",
        "encodingFormat": kind,
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def _fields(distilled: DistilledSet) -> list[dict[str, Any]]:
    kinds = dict(zip(COLUMNS, ("sc:Integer", "sc:Text", "sc:Text", "sc:Float", "sc:Integer"), strict=True))
    columns = [_column(name, kind, name) for name, kind in kinds.items()]
    columns[1]["source"]["transform"] = {
        "regex": "^(?:previews/)?(.*)$"
    }  # mlcroissant joins by the bare name of a file
    columns[1]["references"] = {"fileSet": {"@id": "previews"}, "extract": {"fileProperty": "filename"}}
    image = {
        "@type": "cr:Field",
        "@id": f"{RECORDS}/image",
        "name": "image",
        "description": "The preview.",
        "dataType": "sc:ImageObject",
        "source": {"fileSet": {"@id": "previews"}, "extract": {"fileProperty": "content"}},
    }
    kind, soft = distilled.label_kind, soft_classes(distilled)
    own = (_column(f"{COLUMN_OF[kind]}_{c}", "sc:Float", soft_column(name, kind)) for c, name in soft)
    return [*columns, image, *own]


def _column(name: str, kind: str, column: str) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"{RECORDS}/{name}",
        "name": name,
        "description": f"Column '{column}' of {LABELS}.",
        "dataType": kind,
        "source": {"fileObject": {"@id": LABELS}, "extract": {"column": column}},
    }
