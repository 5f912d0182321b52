"""What a study of exchange says first of a hospital with few patients: harm as well as gain."""

from __future__ import annotations

from dataclasses import replace

from medistill.evaluate.hospital_curve import AsGoodAs
from medistill.evaluate.intervals import Estimate
from medistill.report.exchange_hospital import hospital_headline
from medistill.report.wording import NO_BREAK, class_label
from tests.factories.exchange_example import SITES, hospital


def test_harm_at_home_is_told_as_harm_and_a_gain_with_the_patients_it_is_worth() -> None:
    home, everywhere = hospital().curves
    harmed = replace(home.points[0], gain=Estimate(-0.085, -0.151, -0.026), as_good_as=AsGoodAs(10.0, 10.0, 10.0))
    gained = replace(everywhere.points[0], gain=Estimate(0.081, 0.038, 0.128), as_good_as=AsGoodAs(None, 90.0, None))
    curves = (
        replace(home, points=(replace(harmed, patients=10), *home.points[1:])),
        replace(everywhere, points=(replace(gained, patients=10), *everywhere.points[1:])),
    )
    told = hospital_headline(replace(hospital(), curves=curves)).replace(NO_BREAK, " ")
    name = class_label(SITES[0])
    most = everywhere.points[-1].patients
    assert told == (
        f"With 10 patients of {name}, the sets of the others change the macro AUC of its own originals by −0.085 "
        f"(−0.151 to −0.026) tested at {name}; +0.081 (+0.038 to +0.128) tested at all sites, as good as >{most} "
        f"(90 to >{most}) of its own patients alone."
    )


def test_nothing_is_said_of_a_hospital_without_points() -> None:
    assert hospital_headline(replace(hospital(), curves=())) == ""
