"""What the chain makes is what it made before: the same bits, method by method."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import torch

from tests.golden.chain import VALUES, differences, machine, made


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_the_chain_makes_the_same_bits(tmp_path, one_thread):
    known = json.loads(VALUES.read_text(encoding="utf-8"))
    if known["machine"] != machine():
        pytest.skip("this processor, or this build of torch, rounds otherwise than the one that wrote the values")
    assert differences(made(tmp_path), known["values"]) == []
