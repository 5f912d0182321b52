"""The data section of a recipe: how files become a corpus."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from medistill.recipe.class_map import ClassMap
from medistill.recipe.section import AtMost, Fraction, Names, Positive, Section, Text

PatientIds = Literal["site", "global"]


class DataRecipe(Section):
    """How files become a corpus."""

    image_size: Annotated[int, Field(ge=8, le=1024), AtMost(1024)] = 32
    """Height and width of every image, in pixels."""
    channels: Literal[1, 3] = 1
    """1 for radiographs, 3 for colour images."""
    fit: Literal["stretch", "pad", "crop"] = "stretch"
    """How an oblong image becomes square: stretched, padded with black, or its centre cropped."""
    orientation: Literal["standard", "as_stored"] = "standard"
    """DICOM images whose header says that they lie on their side, upside down or mirrored (PatientOrientation) are
    turned to the standard view, head on top and the patient's left on the right; or left as they are stored."""
    voi: Literal["auto", "window", "lut", "none"] = "auto"
    """Which DICOM display transform is applied: `auto` takes the VOI LUT sequence, else the window, else none."""
    low_percentile: Annotated[float, Field(ge=0, lt=50)] = 0.5
    """Grey values below this percentile of an image become black (files deeper than 8 bits only)."""
    high_percentile: Annotated[float, Field(gt=50, le=100)] = 99.5
    """Grey values above this percentile of an image become white (files deeper than 8 bits only)."""
    view_policy: Literal["reject", "keep"] = "reject"
    """`reject` refuses lateral views, DICOM files that do not say their view, and files of which a table says a view
    that is not known; `keep` takes every view."""
    burnt_in_text: Literal["auto", "unchecked", "mask", "quarantine"] = "auto"
    """Text other than side markers that is drawn into the pixels is not looked for; painted over (`mask`); or its file
    refused. `auto` is `mask` for images of 64 pixels and more, in which letters can be read, where the extra
    `medistill[ocr]` is installed; without it they stay unchecked, and the set cannot pass its audit. Looking takes
    0.1 s an image at 64 pixels, 0.5 s at 224, on one core."""
    flagged_headers: Literal["refuse", "tell"] = "refuse"
    """DICOM files that say that text which identifies somebody is burnt in, or that a person can be recognised
    (BurnedInAnnotation, RecognizableVisualFeatures), are refused; or taken, and the report tells how many."""
    secondary_captures: Literal["refuse", "tell"] = "tell"
    """The same for DICOM files that are secondary captures, such as screenshots and scanned films."""
    not_chest: Literal["refuse", "tell"] = "refuse"
    """DICOM files that say that they are no radiographs, or show another part of the body than the chest (Modality,
    SOPClassUID, AnatomicRegionSequence, BodyPartExamined, and where these say nothing the descriptions of series and
    study), are refused; or taken, and the report tells how many. Files that say nothing of it are taken and counted."""
    classes: Names = ()
    """Classes to take, in this order; empty takes all, in alphabetical order."""
    class_map: ClassMap = Field(default={})
    """Classes that count as one: `{ Abnormal = ["COVID", "Viral_Pneumonia"] }` unites these two. `classes` then means
    the united ones. In `--set`: `data.class_map.Abnormal=COVID,Viral_Pneumonia`."""
    several_findings: Literal["refuse", "priority"] = "refuse"
    """`refuse` leaves out images to which a table gives several findings, or an uncertain one; `priority` gives them
    the first of `classes` that they have, and leaves out those in which one before it is uncertain."""
    sites: Names = ()
    """Sites to take; empty takes all."""
    prefer_sites: Names = ()
    """Sites to take alone, and to say so, where the corpus has every one of them; another corpus is taken whole."""
    folders: Literal["auto", "site/class", "class/site"] = "auto"
    """Which of two levels of folders names the class. `auto` goes by their names, and asks where these do not tell."""
    patient_ids: PatientIds = "site"
    """Whether one patient's number at two sites is of two people (`site`), or of one (`global`)."""
    val_fraction: Fraction = 0.1
    """Share of the patients set aside for validation where no split is given."""
    test_fraction: Fraction = 0.2
    """Share of the patients set aside for testing where no split is given."""
    file_column: Text = ""
    """Column of the labels table that names the file; empty looks for the usual names."""
    label_column: Text = ""
    """Column with the class, or with several findings (`A|B`); empty looks for the usual names."""
    finding_columns: Names = ()
    """Columns of a class each, in which 1 says that it is there, 0 or nothing that not, -1 that it is uncertain. Empty
    takes all columns of such numbers where there is no column with the class."""
    patient_column: Text = ""
    """Column with the patient or group that must stay in one split; empty looks for the usual names."""
    site_column: Text = ""
    """Column with the site; empty looks for the usual names."""
    view_column: Text = ""
    """Column with the view; empty looks for the usual names."""
    split_column: Text = ""
    """Column with the split (train, val, test); empty looks for the usual names."""
    sex_column: Text = ""
    """Column with the patient's sex; empty looks for the usual names."""
    age_column: Text = ""
    """Column with the patient's age in years, or with a unit; empty looks for the usual names."""
    equalise: bool = False
    """Equalise the histogram of every image by itself, after it was resized. It takes off what devices and displays
    differ in, which can help at another hospital, and can hurt: look at both where that matters."""
    zca: bool = False
    """Whiten the images (ZCA on grey values from 0 to 1), as some published settings for CIFAR do (`zca`)."""
    zca_regularisation: Positive = 0.1
    """Added to the variance in every direction before whitening, in squared units of full scale."""

    @property
    def united(self) -> dict[str, str]:
        """Class of the files -> the class that it counts as, where `class_map` names it."""
        return {name: united for united, names in self.class_map.items() for name in names}
