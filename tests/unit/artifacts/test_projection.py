"""A projection from outside: its matrix is of its kind, and its centre as wide as the encoder that it names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medistill.artifacts.projection import Projection, ProjectionKind, ProjectionRecord
from medistill.encoders.projecting import encoder_projection, plain_projection
from medistill.errors import ArtifactError
from tests.factories.tiny_encoder import stored_tiny, tiny_architecture


@pytest.mark.parametrize(("kind", "shape"), [("public", (9,)), ("encoder", (9, 9)), ("none", (9, 2))])
def test_a_matrix_is_of_the_shape_of_its_kind(kind: ProjectionKind, shape: tuple[int, ...]) -> None:
    """One factor a feature, as wide as can be, would be laid out as a square matrix of 16 GiB."""
    record = ProjectionRecord(kind=kind, encoder="0" * 64)
    with pytest.raises(ArtifactError, match=f"of the kind {kind}, and its matrix has the shape"):
        Projection(np.zeros(9, np.float32), np.ones(shape, np.float32), record)


@pytest.mark.parametrize("width", [21, 23, 2**16])
def test_a_space_of_another_width_than_its_encoder_is_refused(width: int, tmp_path: Path) -> None:
    with tiny_architecture():
        encoder = stored_tiny(tmp_path / "encoder")
    record = ProjectionRecord(kind="public", encoder=encoder.sha256)
    space = Projection(np.zeros(width, np.float32), np.ones((width, 2), np.float32), record)
    with pytest.raises(ArtifactError, match=f"takes {width} features, and the encoder .* gives 22"):
        encoder.projected(space)
    fitting = Projection(np.zeros(22, np.float32), np.ones((22, 2), np.float32), record)
    assert encoder.projected(fitting).dimension == 2
    assert encoder.projected(encoder_projection(encoder)).dimension == 22
    assert encoder.projected(plain_projection(encoder)).dimension == 22
