from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings, strategies as st

from configs.errors import UserError
from pretrain.checkpoint.fragment_files import open_fragments, write_fragments
from pretrain.engine.partition import KINDS, Fragment

SIZE = 30


def fragment(start: int, stop: int, name: str = "w") -> Fragment:
    """Elements of a parameter whose master weights count from 0, and whose moments count from 100 and from 200."""
    return Fragment(name, start, *(torch.arange(float(start), stop) + 100 * index for index in range(3)))


@settings(deadline=None)
@given(st.sets(st.integers(1, SIZE - 1), max_size=6), st.integers(1, 3), st.integers(0, SIZE), st.integers(0, SIZE))
def test_any_range_is_read_from_any_pieces_in_any_files(
    tmp_path_factory: pytest.TempPathFactory, cuts: set[int], files: int, one: int, other: int
) -> None:
    folder = tmp_path_factory.mktemp("fragments")
    edges = [0, *sorted(cuts), SIZE]
    pieces = [fragment(start, stop) for start, stop in pairwise(edges)]
    paths = [folder / f"{index}.safetensors" for index in range(files)]
    for index, path in enumerate(paths):
        write_fragments(path, pieces[index::files])
    start, stop = sorted((one, other))
    with open_fragments(paths, {"w": SIZE}) as saved:
        for index, kind in enumerate(KINDS):
            into = torch.full((stop - start,), -1.0)
            saved.read(kind, "w", start, into)
            assert into.tolist() == [100 * index + element for element in range(start, stop)]


@pytest.mark.parametrize(
    ("pieces", "cause"),
    [
        ([(0, 10), (12, 30)], "parameter w: element 10 is missing"),
        ([(0, 10), (8, 30)], "parameter w: element 8 is present twice"),
        ([(1, 30)], "parameter w: element 0 is missing"),
        ([(0, 29)], "parameter w: has 29 elements, not 30"),
        ([(0, 31)], "parameter w: has 31 elements, not 30"),
        ([], "parameter w: has 0 elements, not 30"),
    ],
)
def test_each_element_must_be_present_once(tmp_path: Path, pieces: list[tuple[int, int]], cause: str) -> None:
    path = tmp_path / "rank.safetensors"
    write_fragments(path, [fragment(start, stop) for start, stop in pieces])
    with pytest.raises(UserError, match=cause), open_fragments([path], {"w": SIZE}):
        pass


def test_parameter_names_can_contain_separators(tmp_path: Path) -> None:
    path = tmp_path / "rank.safetensors"
    write_fragments(path, [fragment(0, SIZE, name="a/b@1")])
    with open_fragments([path], {"a/b@1": SIZE}) as saved:
        into = torch.zeros(2)
        saved.read("exp_avg", "a/b@1", 3, into)
    assert into.tolist() == [103, 104]


@pytest.mark.parametrize("contents", [None, b"", b"\x10\0\0\0\0\0\0\0{"])
def test_invalid_file_is_named_in_the_error(tmp_path: Path, contents: bytes | None) -> None:
    path = tmp_path / "rank.safetensors"
    if contents is not None:
        path.write_bytes(contents)
    with pytest.raises(UserError, match=r"rank\.safetensors: cannot read"), open_fragments([path], {"w": SIZE}):
        pass
