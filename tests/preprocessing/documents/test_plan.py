"""The plan is a function of names, sizes and the recipe; it covers every byte and makes no tiny items."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from configs.schema import CorpusConfig, DataConfig
from preprocessing.documents.formats import FORMATS
from preprocessing.documents.input_files import SourceFile
from preprocessing.documents.plan import Plan, in_parts, make_plan
from preprocessing.documents.spans import FileSpan

GROUP = 1_000


def plan(*files: SourceFile, kind: str = "text", group_bytes: int = GROUP) -> Plan:
    corpus = CorpusConfig.model_validate({"paths": ["p"], "format": kind})
    return make_plan([files], DataConfig(corpora=[corpus], group_bytes=group_bytes), find_cuts=one_unit)


def one_unit(_path: str, _places: Sequence[int]) -> list[int]:
    """Stand for a file that cannot be cut."""
    return []


def spans(made: Plan) -> list[list[tuple[str, int, int | None]]]:
    return [[(span.path, span.start, span.end) for span in item.spans] for item in made.items]


def test_large_file_is_cut_into_equal_ranges() -> None:
    assert spans(plan(SourceFile("a", 3_100))) == [[("a", 0, 1033)], [("a", 1033, 2066)], [("a", 2066, 3100)]]


def test_small_files_share_an_item() -> None:
    made = plan(*(SourceFile(name, 200) for name in "abcdefg"))
    assert [[span.path for span in item.spans] for item in made.items] == [["a", "b", "c"], ["d", "e", "f", "g"]]


def test_compressed_file_is_one_span_with_a_higher_weight() -> None:
    made = plan(SourceFile("a.gz", 50_000), SourceFile("b.bz2", 100), SourceFile("c.xz", 100), SourceFile("d.zst", 10))
    assert spans(made) == [[("a.gz", 0, None)], [("b.bz2", 0, None), ("c.xz", 0, None), ("d.zst", 0, None)]]
    assert made.items[0].weight == 200_000
    assert made.items[0].size == 50_000


def test_compressed_file_is_cut_near_equal_places_where_its_units_begin() -> None:
    corpus = CorpusConfig.model_validate({"paths": ["p"], "format": "text"})
    asked: list[tuple[str, list[int]]] = []

    def find_cuts(path: str, places: Sequence[int]) -> list[int]:
        asked.append((path, list(places)))
        return [300, 600]

    config = DataConfig(corpora=[corpus], group_bytes=GROUP)
    made = make_plan([[SourceFile("a.gz", 1_000), SourceFile("b.xz", 300)]], config, find_cuts=find_cuts)
    assert asked == [("a.gz", [250, 500, 750])]
    assert [span for item in spans(made) for span in item] == [
        ("a.gz", 0, 300),
        ("a.gz", 300, 600),
        ("a.gz", 600, 1_000),
        ("b.xz", 0, None),
    ]
    assert [item.weight for item in made.items] == [1_200, 1_200, 1_600, 1_200]
    assert not any(item.part_bytes for item in made.items)


def test_item_with_a_large_compressed_file_is_cleaned_in_parts() -> None:
    made = plan(SourceFile("a", 1_000), SourceFile("b.gz", 501), SourceFile("c.gz", 500), SourceFile("d", 9_000))
    assert [item.part_bytes for item in made.items] == [0, GROUP, *[0] * 10]
    parted = in_parts(made, lambda item: 3 if item.part_bytes else 0)
    assert [item.number for item in parted.items] == list(range(14))
    parts = parted.items[1:4]
    assert [item.is_part for item in parted.items] == [False, True, True, True, *[False] * 10]
    assert {part.whole for part in parts} == {made.items[1].work_name}
    assert len({item.work_name for item in parted.items}) == 14
    assert sum(part.size for part in parts) == 501
    assert sum(part.weight for part in parts) == made.items[1].weight
    assert [part.work_name for part in parts] == [made.items[1].part(number).work_name for number in range(3)]


def test_copy_is_read_in_place_of_a_compressed_file() -> None:
    corpus = CorpusConfig.model_validate({"paths": ["p"], "format": "text"})
    files, config = [[SourceFile("a.gz", 700)]], DataConfig(corpora=[corpus], group_bytes=GROUP)
    made = make_plan(files, config, {"a.gz": SourceFile("copy", 2_000)}, one_unit)
    assert spans(made) == [[("a.gz", 0, 1_000)], [("a.gz", 1_000, 2_000)]]
    assert {span.place for item in made.items for span in item.spans} == {"copy"}
    assert made.input_digest == make_plan(files, config, find_cuts=one_unit).input_digest


def test_items_are_numbered_in_order() -> None:
    assert [item.name for item in plan(SourceFile("a", 2_900)).items] == ["00000", "00001", "00002"]


def test_empty_files_and_no_files_make_no_items() -> None:
    assert plan().items == ()
    assert plan(SourceFile("a", 0), SourceFile("b.gz", 0)).items == ()


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5_000)), max_size=30))
def test_every_byte_is_in_one_span_and_no_item_is_tiny(drawn: list[tuple[bool, int]]) -> None:
    files = [SourceFile(f"{number:03}{'.gz' if packed else ''}", size) for number, (packed, size) in enumerate(drawn)]
    made = plan(*files)
    in_order = [span for item in made.items for span in item.spans]
    for file in files:
        of_file = [span for span in in_order if span.path == file.path]
        assert sum(span.size for span in of_file) == file.size
        if of_file and of_file[0].end is not None:
            assert (of_file[0].start, of_file[-1].end) == (0, file.size)
            assert all(one.end == other.start for one, other in pairwise(of_file))
            assert max(span.size for span in of_file) <= 1.5 * GROUP
    assert [span.path for span in in_order] == sorted(span.path for span in in_order)
    assert len(made.items) <= 1 or min(item.weight for item in made.items) >= GROUP / 2
    assert made.input_bytes == sum(file.size for file in files)


def test_same_files_give_the_same_plan() -> None:
    files = [SourceFile("x/a", 5_000), SourceFile("x/b.gz", 70)]
    assert plan(*files) == plan(*files)


@pytest.mark.parametrize(
    ("other", "kind"),
    [
        ([SourceFile("x/a", 5_001), SourceFile("x/b", 70)], "text"),
        ([SourceFile("x/a", 5_000), SourceFile("x/c", 70)], "text"),
        ([SourceFile("x/b", 70), SourceFile("x/a", 5_000)], "text"),
        ([SourceFile("x/a", 5_000)], "text"),
        ([SourceFile("x/a", 5_000), SourceFile("x/b", 70)], "jsonl"),
    ],
)
def test_input_digest_changes_with_the_input(other: list[SourceFile], kind: str) -> None:
    files = [SourceFile("x/a", 5_000), SourceFile("x/b", 70)]
    assert plan(*other, kind=kind).input_digest != plan(*files).input_digest


def test_input_digest_does_not_depend_on_folders_or_groups() -> None:
    here, there = SourceFile("/data/x/a", 5_000), SourceFile("gs://bucket/y/a", 5_000)
    assert plan(here).input_digest == plan(there).input_digest == plan(here, group_bytes=2_000).input_digest


def test_text_field_is_part_of_the_input_digest() -> None:
    def digest(field: str) -> str:
        corpus = CorpusConfig(paths=["p"], format="jsonl", text_field=field)
        return make_plan([[SourceFile("a", 9)]], DataConfig(corpora=[corpus])).input_digest

    assert digest("text") != digest("body")


def test_items_are_plain_values() -> None:
    item = plan(SourceFile("a", 10), SourceFile("b.gz", 10)).items[0]
    table = json.loads(json.dumps(dataclasses.asdict(item)))
    assert tuple(FileSpan(**span) for span in table["spans"]) == item.spans


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_file_that_is_one_document_is_never_cut(name: str) -> None:
    assert spans(plan(SourceFile(name, 50_000), kind="files")) == [[(name, 0, None)]]


def test_parquet_is_cut_and_has_a_higher_weight() -> None:
    made = plan(SourceFile("a.parquet", 2_000), kind="parquet")
    assert spans(made) == [[("a.parquet", 0, 1_000)], [("a.parquet", 1_000, 2_000)]]
    assert [item.weight for item in made.items] == [4_000, 4_000]


@pytest.mark.parametrize(("weight", "items"), [(0.25, [["a", "b"], ["c", "d"]]), (1.0, ["a", "b", "c", "d"])])
def test_corpus_weight_multiplies_the_item_weight(weight: float, items: list[str]) -> None:
    corpus = CorpusConfig(paths=["p"], format="text", weight=weight)
    files = [SourceFile(name, 1_000) for name in "abcd"]
    made = make_plan([files], DataConfig(corpora=[corpus], group_bytes=1_000))
    assert [[span.path for span in item.spans] for item in made.items] == [list(names) for names in items]
    assert made.items[0].weight == round(1_000 * weight) * len(made.items[0].spans)


@pytest.mark.parametrize(
    ("megabytes", "items"), [(3, 1), (15, 2), (40, 5), (64, 8), (128, 16), (640, 16), (1_024, 16), (2_048, 32)]
)
def test_small_corpus_is_cut_into_smaller_items(megabytes: int, items: int) -> None:
    assert len(plan(SourceFile("a", megabytes * 1_000_000), group_bytes=64_000_000).items) == items
    many = [SourceFile(f"{number:04}", 1_000_000) for number in range(megabytes)]
    weights = [item.weight for item in plan(*many, group_bytes=64_000_000).items]
    assert len(weights) >= items
    assert max(weights[:-1], default=0) <= 64_000_000
    assert max(weights) <= 2 * min(weights)


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b.gz"]), st.integers(0, 50_000)), max_size=12),
    st.sampled_from(sorted(FORMATS)),
    st.integers(1_000, 60_000),
    st.floats(0.1, 10.0),
)
def test_spans_partition_the_corpus_for_all_formats_and_group_sizes(
    drawn: list[tuple[str, int]], kind: str, group_bytes: int, weight: float
) -> None:
    corpus = CorpusConfig.model_validate({"paths": ["p"], "format": kind, "weight": weight})
    files = [SourceFile(f"{number:02}{name}", size) for number, (name, size) in enumerate(drawn)]
    config = DataConfig(corpora=[corpus], group_bytes=group_bytes)
    made = make_plan([files], config, find_cuts=one_unit)
    assert made == make_plan([list(files)], config, find_cuts=one_unit)
    covered = [(span.path, span.start, span.start + span.size) for item in made.items for span in item.spans]
    expected = [file for file in files if file.size]
    sizes = {file.path: file.size for file in files}
    assert [path for path, start, _ in covered if start == 0] == [file.path for file in expected]
    assert [end for path, _, end in covered if end == sizes[path]] == [file.size for file in expected]
    assert all(one[2] == other[1] for one, other in pairwise(covered) if one[0] == other[0])
