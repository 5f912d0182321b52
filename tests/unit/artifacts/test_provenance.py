"""Provenance: what a set says of its making is read as it is meant, kept as it stands, and never believed half."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medistill.artifacts.provenance import MergedPart, Provenance, SharedProvenance, TextCheckRecord
from medistill.artifacts.quantised_summary import QuantisedSummary
from medistill.artifacts.text_check import TextCheck
from medistill.errors import ArtifactError, RecipeError
from medistill.privacy.accounting import Guarantee
from medistill.privacy.spent import Spent
from medistill.recipe import load_recipe

PLAIN: dict[str, Any] = {
    "method": "IADD",
    "recipe": load_recipe("demo").model_dump(mode="json"),
    "corpus": "c" * 64,
    "synthetic_source": False,
    "quantisation": {"min_cluster_size": 5, "smallest_cluster": 7, "encoder": "pca"},
    "text_check": {"policy": "unchecked"},
    "stages": 1,
    "chosen_step": 20,
    "training_images": {"COVID": 30},
}
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


def test_what_is_read_is_typed_and_what_is_written_is_what_was_read() -> None:
    read = Provenance.read(PLAIN)
    assert (read.method, read.synthetic_source, read.chosen_step) == ("IADD", False, 20)
    assert read.quantisation == QuantisedSummary(min_cluster_size=5, smallest_cluster=7, encoder="pca")
    assert read.text_check == TextCheckRecord(policy="unchecked")
    assert read.made_with("the set") == load_recipe("demo")
    assert read.as_json() == PLAIN
    assert Provenance.read(json.loads(json.dumps(read.as_json()))) == read


def test_a_record_that_was_made_here_and_one_that_was_read_are_the_same() -> None:
    part = MergedPart(
        sender="A", set_digest="a" * 64, first=0, images=4, privacy="", epsilon=None, delta=None, unit=None
    )
    made = Provenance(method="DDOQ", stages=1, soft_labels=False, sources=(part,), resized_from=(None, 12))
    assert made.as_json() == {
        "method": "DDOQ",
        "stages": 1,
        "soft_labels": False,
        "sources": [{name: value for name, value in part.as_json().items() if name != "signer"}],
        "resized_from": [None, 12],
    }
    assert Provenance.read(made.as_json()) == made


def test_what_this_version_does_not_know_is_kept_through_a_change() -> None:
    read = Provenance.read({**PLAIN, "bygone": {"x": [1, None]}, "stages": "many"})
    assert read.stages is None
    changed = read.replaced(method="PDD", chosen_step=None, trajectories="t")
    known = {name: value for name, value in PLAIN.items() if name != "chosen_step"}
    assert changed.as_json() == {
        **known, "bygone": {"x": [1, None]}, "stages": "many", "method": "PDD", "trajectories": "t",
    }  # fmt: skip
    assert (changed.method, changed.chosen_step, read.method) == ("PDD", None, "IADD")


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(Provenance.model_fields)) | st.text(max_size=6), values, max_size=6))
def test_whatever_a_stranger_wrote_is_kept_and_only_what_has_its_kind_is_read(stated: dict[str, Any]) -> None:
    read = Provenance.read(stated)
    assert read.as_json() == stated
    assert Provenance.read(stated) == read
    for name in Provenance.model_fields:
        if getattr(read, name) is not None:
            assert name in stated
        elif stated.get(name) is not None:
            with pytest.raises(ArtifactError, match="the set cannot be used"):
                read.refuse_malformed("the set", name)


def test_a_malformed_field_is_refused_where_it_is_asked_for() -> None:
    read = Provenance.read({**PLAIN, "split_unit": "visit", "recipe": ["x"]})
    read.refuse_malformed("set", "method", "quantisation")
    with pytest.raises(ArtifactError, match="a-set cannot be used: split_unit: Input should be 'patient', 'study'"):
        read.refuse_malformed("a-set", "method", "split_unit")
    with pytest.raises(ArtifactError, match="a-set does not say which recipe"):
        read.made_with("a-set")
    with pytest.raises(RecipeError, match="inside a-set"):
        Provenance.read({"recipe": {"bygone": 1}}).made_with("a-set")


@pytest.mark.parametrize("stated", ["yes", {"epsilon": 1.0}, [1], {"epsilon": {}}])
def test_a_promise_that_cannot_be_read_is_never_taken_for_none(stated: object) -> None:
    read = Provenance.read({"differential_privacy": stated, "privacy_spent": stated})
    assert read.states("differential_privacy")
    with pytest.raises(ArtifactError, match="differential privacy"):
        Guarantee.of_set(read)
    with pytest.raises(ArtifactError, match="spent in all"):
        Spent.of_set(read)
    silent = Provenance()
    assert (Guarantee.of_set(silent), Spent.of_set(silent), silent.states("differential_privacy")) == (
        None,
        None,
        False,
    )


def test_how_text_was_looked_for_goes_into_a_set_and_comes_back() -> None:
    for check in (None, TextCheck(by="a reader 1.0", policy="mask")):
        assert TextCheckRecord.of(check).check == check
    left = SharedProvenance(text_check=TextCheckRecord.of(None)).as_json()
    assert left == {"text_check": {"policy": "unchecked"}}
