"""Documents that the corpus holds already, and lines that it holds too often: which ones go, and what is counted."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from configs.errors import UserError
from configs.schema import DataConfig
from preprocessing.comparison.fingerprints import line_hashes
from preprocessing.comparison.steps import comparison_steps
from preprocessing.corpus.cleaned_files import write_cleaned
from preprocessing.corpus.cleaning import Dropped, Kept
from preprocessing.corpus.corpus import read_corpus
from preprocessing.corpus.decisions import begin_comparison, end_comparison, read_boilerplate
from preprocessing.dataset.figures import SPLITS, Split
from preprocessing.dataset.manifest import Manifest, ShardEntry, write_manifest
from preprocessing.dataset.shard import Provenance, Rows, read_shard
from preprocessing.documents.file_search import find_files
from preprocessing.documents.plan import make_plan
from preprocessing.documents.progress import Monitor, Progress, stop_requested
from preprocessing.execution import stages
from preprocessing.execution.engines import worker_processes
from preprocessing.inspection.document_rules import DocumentRules
from preprocessing.inspection.verification import verify
from preprocessing.pipeline import prepare, prepare_share
from preprocessing.resuming.parts import WORK
from preprocessing.resuming.share import Share
from preprocessing.storage.local_store import LocalStore
from tests.preprocessing.corpora import WORDS, digests, make_documents, small_config, write_text

MENU = "Home | About | Contact"

# Prepares the recipe on its command line, and ends itself as a power cut would, once the first item is cleaned.
PROGRAM = """
import os, pathlib, signal, sys
from configs.schema import DataConfig
from preprocessing.pipeline import prepare
config = DataConfig.model_validate_json(sys.argv[1])
def kill(progress):
    if list(pathlib.Path(config.dataset).glob(".prepare/cleaned-*.json")):
        os.kill(os.getpid(), signal.SIGKILL)
prepare(config, progress=kill)
"""


def compared(folder: Path, config: DataConfig) -> list[Kept | str]:
    """What becomes of each document of a corpus."""
    stop_requested.clear()  # a preparation in this process sets it at its end
    folder.mkdir()
    work = LocalStore(folder)
    plan = make_plan([find_files(corpus.paths) for corpus in config.corpora], config)
    monitor = Monitor(work)
    for item in plan.items:
        write_cleaned(item, config, work, monitor)
    comparison = begin_comparison(plan, config, work)
    for step in comparison_steps(comparison):
        for unit in range(step.units):
            step.make(comparison, unit, monitor.visit)
    end_comparison(comparison)
    found = (outcome for item in plan.items for outcome in read_corpus(item, config, work, monitor))
    return [outcome.cause if isinstance(outcome, Dropped) else outcome for outcome in found]


def outcomes_of(documents: list[list[str]], folder: Path, **changes: object) -> list[Kept | str]:
    """Return the result for each document of some files."""
    files = [write_text(folder / f"{number:03}.txt", texts) for number, texts in enumerate(documents)]
    return compared(folder / "work", small_config(folder / "dataset", *files, **changes))


def short(outcomes: list[Kept | str]) -> list[str]:
    """Return the text of kept documents, and the cause of dropped ones."""
    return [outcome.text if isinstance(outcome, Kept) else f"<{outcome}>" for outcome in outcomes]


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=9), min_size=1, max_size=4),
    st.integers(1_000, 5_000),
)
def test_first_of_equal_documents_is_kept_for_all_cuts(files: list[list[int]], group_bytes: int) -> None:
    texts = [[f"Text {number}. " + "word " * 40 * number for number in file] for file in files]
    with tempfile.TemporaryDirectory() as folder:
        found = outcomes_of(texts, Path(folder), group_bytes=group_bytes)
    order = [number for file in files for number in file]
    is_first = [number not in order[:place] for place, number in enumerate(order)]
    assert [isinstance(outcome, Kept) for outcome in found] == is_first
    assert {outcome for outcome in found if isinstance(outcome, str)} <= {"exact_duplicate"}


def test_documents_are_compared_after_cleaning(tmp_path: Path) -> None:
    files = [["One  text.\r\nOf two lines.", "Cafe\u0301."], ["One text.\nOf two lines.\0", "Caf\u00e9.", "one text."]]
    found = short(outcomes_of(files, tmp_path))
    assert found == ["One text.\nOf two lines.", "Caf\u00e9.", "<exact_duplicate>", "<exact_duplicate>", "one text."]


def test_duplicates_none_drops_nothing(tmp_path: Path) -> None:
    config = small_config(
        tmp_path / "dataset", write_text(tmp_path / "a.txt", make_documents(40) * 2), duplicates="none"
    )
    assert not config.compares_documents
    manifest = prepare(config)
    assert (manifest.statistics.documents, manifest.drops) == (80, {})


def test_duplicate_of_an_unsampled_document_is_kept(tmp_path: Path) -> None:
    text = make_documents(60)
    files = [write_text(tmp_path / name, text) for name in ("a.txt", "b.txt")]
    corpora = [
        {"paths": [str(file)], "format": "text", "weight": weight}
        for file, weight in zip(files, (0.5, 3.0), strict=True)
    ]
    found = compared(tmp_path / "work", small_config(tmp_path / "dataset", corpora=corpora))
    counts = Counter(outcome if isinstance(outcome, str) else outcome.copies for outcome in found)
    assert counts["not_sampled"] == counts[3] == 60 - counts[1]
    assert counts["exact_duplicate"] == counts[1]
    assert 0 < counts[1] < 60


def edited(text: str, share: float, numbers: random.Random) -> str:
    """Return the text with this fraction of its words replaced."""
    words = text.split(" ")
    for place in numbers.sample(range(len(words)), round(share * len(words))):
        words[place] = "".join(numbers.sample(WORDS, 2))
    return " ".join(words)


def test_near_duplicates_are_dropped_and_others_are_kept(tmp_path: Path) -> None:
    """Replacing one word in a hundred changes about 5 % of the runs; one in ten changes more than a third."""
    numbers = random.Random(3)
    originals = [" ".join(numbers.choices(WORDS, k=300)) for _ in range(120)]
    near = [edited(text, 0.01, numbers) for text in originals[:60]]
    far = [edited(text, 0.10, numbers) for text in originals[60:]]
    found = outcomes_of([originals, near + far], tmp_path, duplicates="near")
    assert all(isinstance(outcome, Kept) for outcome in found[:120])
    assert (
        found[120:180].count("near_duplicate") >= 58
    )  # a document with a similarity of 0.9 is missed once in a thousand times
    assert all(isinstance(outcome, Kept) for outcome in found[180:])


def test_threshold_separates_near_duplicates(tmp_path: Path) -> None:
    numbers = random.Random(4)
    originals = [" ".join(numbers.choices(WORDS, k=300)) for _ in range(20)]
    changed = [edited(text, 0.05, numbers) for text in originals]  # a similarity of about 0.64
    counts = []
    for threshold in (0.5, 0.95):
        folder = tmp_path / str(threshold)
        folder.mkdir()
        found = outcomes_of([originals, changed], folder, duplicates="near", near_duplicate_threshold=threshold)
        counts.append(found.count("near_duplicate"))
    assert counts[0] >= 18
    assert counts[1] == 0


def test_exact_duplicates_are_counted_separately_from_near_duplicates(tmp_path: Path) -> None:
    text = make_documents(1, sentences=40)[0]
    found = outcomes_of([[text, text + " More.", text.upper(), text]], tmp_path, duplicates="near")
    assert found[1:] == ["near_duplicate", "near_duplicate", "exact_duplicate"]


def test_boilerplate_lines_are_removed(tmp_path: Path) -> None:
    files = [
        [f"{MENU}\nText {number} is here.\n{MENU}\nThe end." for number in range(start, start + 3)] for start in (0, 3)
    ]
    files[1] += ["Text 9 is here.", f"{MENU}\nThe end."]
    found = outcomes_of(files, tmp_path, boilerplate_documents=7)
    assert short(found) == [*(f"Text {number} is here." for number in (0, 1, 2, 3, 4, 5, 9)), "<only_boilerplate>"]
    first = found[0]
    assert isinstance(first, Kept)
    assert (first.text_bytes, first.repairs) == (15, ("boilerplate_removed", *["boilerplate_line"] * 3))
    assert np.array_equal(read_boilerplate(LocalStore(tmp_path / "work")), np.sort(line_hashes(f"{MENU}\nThe end.")))


def test_line_counts_once_per_document_and_duplicates_count_once(tmp_path: Path) -> None:
    often = "\n".join(["Again."] * 9)
    found = outcomes_of(
        [[f"{often}\nFirst.", "Twice.\nSecond.", "Twice.\nThird."] * 4], tmp_path, boilerplate_documents=3
    )
    assert short(found)[:3] == [f"{often}\nFirst.", "Twice.\nSecond.", "Twice.\nThird."]
    assert found[3:] == ["exact_duplicate"] * 9


@pytest.mark.parametrize("duplicates", ["none", "exact"])
def test_documents_that_differ_only_in_boilerplate_are_duplicates(tmp_path: Path, duplicates: str) -> None:
    """Ten sites show the same 30 texts, each with its own name."""
    texts = [f"Text {number} has a line.\nAnd another {number}." for number in range(30)]
    files = [[f"Site {site}\n{text}" for text in texts] for site in range(10)]
    found = outcomes_of(files, tmp_path, duplicates=duplicates, boilerplate_documents=30, held_out_fraction=0.5)
    kept = [outcome for outcome in found if isinstance(outcome, Kept)]
    assert short(found)[:30] == texts
    assert len(kept) == (30 if duplicates == "exact" else 300)
    assert found.count("exact_duplicate") == 300 - len(kept)
    splits: dict[str, set[Split]] = {}
    for document in kept:
        splits.setdefault(document.text, set()).add(document.split)
    assert all(len(of_text) == 1 for of_text in splits.values())
    assert len(set().union(*splits.values())) == 2


def test_every_document_of_the_input_is_kept_or_counted(tmp_path: Path) -> None:
    documents = make_documents(100)
    numbers = random.Random(1)
    documents = [f"{MENU}\n{text}" for text in documents] + numbers.choices(documents, k=40) + ["\0", MENU]
    config = small_config(
        tmp_path / "dataset",
        write_text(tmp_path / "a.txt", documents),
        duplicates="near",
        boilerplate_documents=50,
    )
    manifest = prepare(config)
    drops = manifest.drops
    assert manifest.statistics.documents == 100
    assert drops == {
        "boilerplate_line": 100, "boilerplate_removed": 100, "empty": 1, "only_boilerplate": 1,
        "exact_duplicate": drops["exact_duplicate"], "near_duplicate": 40 - drops["exact_duplicate"],
    }  # fmt: skip
    assert manifest.statistics.text_bytes == sum(len(text.encode()) for text in make_documents(100))
    assert list(verify(tmp_path / "dataset")) == []


@pytest.mark.parametrize("duplicates", ["none", "exact"])
def test_no_document_is_in_both_splits(tmp_path: Path, duplicates: str) -> None:
    """Checked in the shards, for three files that hold the same documents at three weights."""
    documents = make_documents(80)
    corpora = []
    for number, weight in enumerate((0.5, 1.0, 2.5)):
        file = write_text(tmp_path / f"{number}.txt", documents)
        corpora.append({"paths": [str(file)], "format": "text", "weight": weight})
    config = small_config(
        tmp_path / "dataset", corpora=corpora, held_out_fraction=0.3, provenance=True, duplicates=duplicates
    )
    manifest = prepare(config)
    seen: dict[Split, set[int]] = {"train": set(), "held_out": set()}
    for shard in manifest.shards:
        provenance = read_shard(tmp_path / "dataset" / shard.name).provenance
        assert provenance is not None
        seen[shard.split] |= {*provenance.a_document.tolist(), *provenance.b_document.tolist()}
    assert len(seen["train"]) > 40
    assert len(seen["held_out"]) > 10
    assert seen["train"].isdisjoint(seen["held_out"])
    assert ("exact_duplicate" in manifest.drops) == (duplicates == "exact")


@pytest.fixture(scope="module")
def repeated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About 300 documents in two files, a third of which are duplicates."""
    folder = tmp_path_factory.mktemp("repeated")
    numbers = random.Random(7)
    documents = [f"{MENU}\n{text}" for text in make_documents(200)]
    more = [edited(text, 0.01, numbers) for text in numbers.sample(documents, 50)] + numbers.sample(documents, 50)
    numbers.shuffle(more)
    write_text(folder / "corpus" / "a.txt", documents[:100] + more[:50])
    write_text(folder / "corpus" / "b.txt", more[50:] + documents[100:])
    return folder / "corpus"


def everything(dataset: Path, corpus: Path, **changes: object) -> DataConfig:
    """A recipe with near duplicates and boilerplate."""
    return small_config(dataset, corpus, duplicates="near", boilerplate_documents=100, **changes)


@pytest.fixture(scope="module")
def whole(repeated: Path) -> Manifest:
    return prepare(everything(repeated.parent / "whole", repeated))


@pytest.mark.slow  # exact duplicates and two workers: test_pipeline
@pytest.mark.parametrize(("worth_a_process", "comparing"), [(1, 2), (10_000_000, 0)])
def test_two_workers_make_the_same_bytes(
    tmp_path: Path,
    repeated: Path,
    whole: Manifest,
    monkeypatch: pytest.MonkeyPatch,
    worth_a_process: int,
    comparing: int,
) -> None:
    """They compare the documents in processes of their own only if that is quicker than to start these."""
    monkeypatch.setattr(stages, "_MIN_BYTES_PER_WORKER", worth_a_process)
    processes: Counter[str] = Counter()

    def look(state: Progress) -> None:
        processes[state.stage] = max(processes[state.stage], len(worker_processes()))

    assert whole.drops["exact_duplicate"] + whole.drops["near_duplicate"] > 80
    assert prepare(everything(tmp_path / "dataset", repeated, workers=2), progress=look) == whole
    assert (processes["comparison"], processes["groups"]) == (comparing, 2)
    assert digests(tmp_path / "dataset") == digests(repeated.parent / "whole")


def test_shares_make_the_same_bytes(tmp_path: Path, repeated: Path, whole: Manifest) -> None:
    config = everything(tmp_path / "dataset", repeated)
    assert prepare_share(config, Share(2, 2)) == [1]
    assert prepare_share(config, Share(1, 2)) == whole
    assert digests(tmp_path / "dataset") == digests(repeated.parent / "whole")


def test_dropped_documents_do_not_depend_on_the_groups(tmp_path: Path, repeated: Path, whole: Manifest) -> None:
    for group_bytes in (2_000, 10_000_000):
        made = prepare(everything(tmp_path / str(group_bytes), repeated, group_bytes=group_bytes, dupe_factor=1))
        assert made.statistics.documents == whole.statistics.documents
        assert made.statistics.text_bytes == whole.statistics.text_bytes
        causes = ("exact_duplicate", "near_duplicate", "boilerplate_line")
        assert {cause: made.drops[cause] for cause in causes} == {cause: whole.drops[cause] for cause in causes}


def test_preparation_stopped_at_any_stage_resumes_to_the_same_bytes(
    tmp_path: Path, repeated: Path, whole: Manifest
) -> None:
    config = everything(tmp_path / "dataset", repeated)
    for stage in ("duplicates", "vocabulary", "groups"):

        def stop(progress: Progress, stage: str = stage) -> None:
            if progress.stage == stage:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            prepare(config, progress=stop)
    assert prepare(config) == whole
    assert digests(tmp_path / "dataset") == digests(repeated.parent / "whole")


def test_preparation_killed_during_comparison_resumes_to_the_same_bytes(
    tmp_path: Path, repeated: Path, whole: Manifest
) -> None:
    config = everything(tmp_path / "dataset", repeated)
    work = tmp_path / "dataset" / WORK
    ended = subprocess.run([sys.executable, "-c", PROGRAM, config.model_dump_json()], check=False)
    assert ended.returncode == -signal.SIGKILL
    cleaned = {file.name: file.stat().st_mtime_ns for file in work.glob("cleaned-*.json")}

    def look(progress: Progress) -> None:
        if progress.stage == "vocabulary":
            assert {name: (work / name).stat().st_mtime_ns for name in cleaned} == cleaned

    assert prepare(config, progress=look) == whole
    assert digests(tmp_path / "dataset") == digests(repeated.parent / "whole")


def test_near_duplicates_need_datasketch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasketch", None)
    with pytest.raises(UserError, match="near duplicates need datasketch") as raised:
        prepare(small_config(tmp_path / "dataset", tmp_path / "none.txt", duplicates="near"))
    assert "install the extra `near`: " in raised.value.fix


def test_verify_detects_a_document_in_two_groups(tmp_path: Path) -> None:
    """A faulty producer kept a document twice, and counted drops that the recipe does not request."""
    config = small_config(
        tmp_path / "dataset",
        write_text(tmp_path / "a.txt", make_documents(60)),
        write_text(tmp_path / "b.txt", make_documents(80)),
        provenance=True,
        duplicates="none",
    )
    manifest = prepare(config)
    assert list(verify(tmp_path / "dataset")) == []
    claimed = manifest.model_copy(update={"recipe": {**manifest.recipe, "duplicates": "exact"}})
    write_manifest(tmp_path / "dataset", claimed)
    assert [failure.rule for failure in verify(tmp_path / "dataset")] == ["no document is in two groups"] * 2
    write_manifest(tmp_path / "dataset", manifest.model_copy(update={"drops": {"near_duplicate": 1}}))
    assert [failure.rule for failure in verify(tmp_path / "dataset")] == [
        "drops.near_duplicate is counted only if the recipe requests it"
    ]


def test_verify_detects_a_document_in_both_splits() -> None:
    document = np.array([7], np.uint64)
    one = np.ones(1, np.uint32)
    origin = Provenance(document, one, one.astype(np.uint16), document, one, one.astype(np.uint16))
    nothing = np.zeros(0, np.uint16)
    offsets = np.zeros(2, np.int32)
    rows = Rows(nothing, offsets, one.astype(np.uint16), nothing, nothing, offsets, np.zeros(1, np.uint8), origin)
    whereabouts = DocumentRules()
    for split in SPLITS:
        shard = ShardEntry(
            name=f"shards/00000.0000-p00-{split}.arrow",
            group="00000.0000",
            split=split,
            pass_number=0,
            rows=1,
            tokens=0,
            masked_tokens=0,
            bytes=0,
            sha256="",
        )
        whereabouts.add(rows, shard)
    assert [failure.rule for failure in whereabouts.check(DataConfig())] == ["no document is in both splits"]
