"""Body part: which part of a person a header tells of, in words of several languages. The chest goes before others."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from pydicom import Dataset

from medistill.data.dicom_view import DESCRIBING, items_of
from medistill.data.phrases import joined_words, pattern_of

CHEST = re.compile(
    r"(?<!\S)(?:CHEST\w*|CXR|THORA[XKC]\w*|HEMITHORAX|TORA[XC]\w*|LUNGS?|LUNGEN?|PULMO\w*|POUMONS?|POLMON[EIA]\w*|"
    r"LONGEN|BRUSTKORB|BORSTKAS|HEART|HERZ|COEUR|CUORE|CORAZON|CARDIAC|MEDIASTIN\w*|PLEURA\w*|BRONCH\w*|KLATK\w*|"
    r"ГРУД\w*|胸\w*)(?!\S)"
)
PARTS = {
    "spine": (
        r"(?:THORA(?:CIC|CAL|KALE?)|THORACIQUE|DORSAL|CERVICAL|LUMBAR|LUMBAL|SACRAL|[CTL]) (?:SPINE|VERTEBRA\w*)|"
        r"(?:RACHIS|COLUMNA|COLONNA|COLUNA)(?: \w+)?|\w*SPINE|SPINAL|\w*WIRBELSAE?ULE|"
        r"[BHL]WS|THORACO ?LUMBA[RL](?: SPINE)?|CERVICO ?THORACIC(?: SPINE)?|LUMBAR|LUMBAL|"
        r"SACROILIAC|LUMBOSACRAL|SACRUM|KREUZBEIN|COCCYX|WERVELKOLOM|SIJOINTS?"
    ),
    "abdomen": (
        r"ABDOM\w*|BAUCH|BUIK|KUB|BLASE|BLADDER|KIDNEYS?|NIEREN?|LIVER|LEBER|STOMACH|MAGEN|COLON|RECTUM|GALLBLADDER|"
        r"PANCREAS|SPLEEN|DUODENUM|INTESTINE|BOWEL|PROSTATE?|URET(?:ER|HRA)S?|UTERUS"
    ),
    "hip": r"HIPS?|HUE?FT\w*|HANCHES?|CADERAS?|ANCA|QUADRIL|HEUP",
    "pelvis": r"PELVI[SC]\w*|BECKEN\w*|BASSIN|BACINO|BEKKEN|BACIA",
    "hand": r"HANDS?|MANOS?|FINGERS?|DOIGTS?|DEDOS?|THUMBS?|DAUMEN|POUCE|MITTELHAND",
    "wrist": r"WRISTS?|HANDGELENK\w*|POIGNETS?|MUNECAS?|POLSO|PUNHO|CARPUS|SCAPHOID",
    "elbow": r"ELBOWS?|ELL?ENBOGEN\w*|COUDES?|CODOS?|GOMITO|COTOVELO|ELLEBOOG",
    "arm": r"FOREARMS?|UNTERARM|OBERARM|AVANT BRAS|ANTEBRAZO|AVAMBRACCIO|RADIUS|ULNA|HUMERUS|HUMERO",
    "limb": r"EXTREMIT\w*|EXTREMIDAD\w*|ESTREMITA|MEMBRE|LIMBS?",
    "shoulder": (
        r"SHOULDERS?|SCHULTER\w*|EPAULES?|HOMBROS?|SPALLA|OMBRO|SCHOUDER|SCAPULA|CLAVIC\w*|"
        r"AC ?JOINTS?|ACROMIOCLAVICULAR|SCHLUE?SSELBEIN"
    ),
    "rib": r"RIBS?|RIPPEN?|STERNUM|ESTERNON",
    "breast": r"BREASTS?|MAMM[AEO]\w*",
    "knee": r"KNEES?|KNIE\w*|GENOUX?|RODILLAS?|GINOCCHIO|JOELHO|PATELLA",
    "leg": r"LEGS?|LOWERLEG|UPPERLEG|UNTERSCHENKEL|OBERSCHENKEL|FEMURS?|FEMORAL|TIBIA|FIBULA|JAMBES?|THIGHS?|CALF",
    "ankle": r"ANKLES?|SPRUNGGELENK\w*|CHEVILLES?|TOBILLOS?|CAVIGLIA|TORNOZELO|ENKEL",
    "foot": r"FOOT|FEET|FUSS|PIEDS?|PIEDE|VOET|TOES?|ZEHEN?|ORTEILS?|HEEL|CALCANEUS",
    "head": (
        r"SKULL|SCHAE?DEL\w*|CRANE|CRANI\w*|BRAIN|GEHIRN|CERVEAU|CEREBRO|ORBIT(?:S|AL)?|SINUS(?:ES)?|"
        r"FACIAL|NASAL|MASTOIDS?|ZYGOMA"
    ),
    "jaw": r"JAW|MANDIB\w*|MAXILLA\w*|KIEFER|TMJ|TEETH|TOOTH|DENTAL|ZAE?HNE|ZAHN|DENTS?|DIENTES?",
    "neck": r"NECK|CERVIX|HALS|COU|CUELLO|COLLO|LARYNX|PHARYNX|THYROID",
    "whole body": r"WHOLE ?BODY|GANZKOE?RPER|CORPS ENTIER|CUERPO ENTERO|SKELETON",
}
"""Part -> the words and phrases that mean it, in capitals and without accents."""
ALONE = {
    "arm": r"(?:UPPER )?ARMS?|BRAS|BRAZO|BRACCIO",
    "breast": r"SEINS?",
    "hand": r"MAINS?",
    "head": r"HEAD|FACE|KOPF|TETE|CABEZA|TESTA|EYES?|EARS?|NOSE",
    "hip": r"ANCHE",
    "back": r"BACK|DOS|RUE?CKEN|ESPALDA",
    "phantom": r"PHANTOM|TEST ?PATTERN|QC",
}
"""The same for words that mean a part where a part is stated, and often something else in a description."""
CODED = (
    "816094009", "51185008", "T-D3000", "302551006", "43799004", "T-D3200", "39607008", "T-28000", "181216001",
    "86598002", "T-280A0", "80891009", "T-32000", "72410000", "T-D3300", "955009", "T-26000", "3120008", "T-29000",
    "416550000", "R-FAB55", "416775004", "R-FAB56", "417437006", "R-FAB52", "416319003", "R-FAB54", "416152001",
    "R-FAB53",
)  # fmt: skip
"""Codes of SNOMED CT, and of SNOMED RT before it, of regions that hold the chest."""
SNOMED = ("SCT", "SRT", "SNM3")
REGIONS = ("AnatomicRegionSequence", "PrimaryAnatomicStructureSequence")
"""Elements with codes of regions; the second one names a structure in that of the first."""
_KEYS = {part.replace(" ", "_"): pattern for part, pattern in PARTS.items()}
_DESCRIBED = pattern_of(_KEYS)
_STATED = pattern_of({**_KEYS, **{f"{part}_stated": pattern for part, pattern in ALONE.items()}})


class ToldPart(NamedTuple):
    """Which part of the body a header tells of.

    Attributes:
        part: the chest, another part, or none that is known.
        by: keyword of the element that says it.
        name: of another part, in words of our own; "" where only a code is known.
    """

    part: Literal["chest", "other", "not stated"]
    by: str = ""
    name: str = ""


def told_part(header: Dataset) -> ToldPart:
    """What a header says. What is there to state the part goes before what describes series and study."""
    stated = [*_regions(header), _of_words("BodyPartExamined", _text(header, "BodyPartExamined"), _STATED)]
    described = [_of_words(keyword, _text(header, keyword), _DESCRIBED) for keyword in DESCRIBING]
    for told in (stated, described):
        for part in ("chest", "other"):
            for one in told:
                if one.part == part:
                    return one
    return ToldPart("not stated")


def _regions(header: Dataset) -> list[ToldPart]:
    told = []
    for keyword, item in [(name, item) for name in REGIONS for item in items_of(header, name)]:
        code, scheme = _text(item, "CodeValue"), _text(item, "CodingSchemeDesignator")
        of_words = _of_words(keyword, _text(item, "CodeMeaning"), _STATED)
        if code in CODED:
            told.append(ToldPart("chest", keyword))
        elif of_words.part == "not stated" and code and scheme in SNOMED:
            told.append(ToldPart("other", keyword))
        else:
            told.append(of_words)
    return told


def _of_words(keyword: str, text: str, known: re.Pattern[str]) -> ToldPart:
    words = joined_words(text)
    found = known.search(words)
    rest = known.sub(" ", words)  # "THORACIC SPINE" is no chest
    if CHEST.search(" ".join(rest.split())):
        return ToldPart("chest", keyword)
    if found is None:
        return ToldPart("not stated")
    return ToldPart("other", keyword, (found.lastgroup or "").removesuffix("_stated").replace("_", " "))


def _text(header: Dataset, keyword: str) -> str:
    return str(header.get(keyword, "") or "").strip()
