"""Documents that share a run of words with evaluation text are dropped and counted."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configs.errors import UserError
from configs.schema import DataConfig
from preprocessing.corpus.cleaning import Dropped, Kept, keep
from preprocessing.corpus.evaluation_text import _checked, evaluation_text, with_evaluation_digest
from preprocessing.documents.reader import Document
from preprocessing.pipeline import prepare
from tests.preprocessing.corpora import make_documents, small_config, write_text

RUN = "one two three four five six seven eight nine ten eleven twelve thirteen"
LESS = RUN.rpartition(" ")[0]


def outcome(text: str, path: Path, words: int = 13) -> Kept | str:
    config = DataConfig(decontaminate=[str(path)], decontaminate_words=words)
    found = keep(Document(text, "here"), with_evaluation_digest(config))
    return found.cause if isinstance(found, Dropped) else found


@pytest.mark.parametrize(
    ("text", "is_contaminated"),
    [
        (f"Before. {RUN} after.", True),
        (RUN.upper().replace(" ", ", "), True),  # case and punctuation do not count
        (LESS, False),
        (LESS + " other " + RUN.split()[-1], False),
        ("", False),
    ],
)
def test_document_with_a_run_of_thirteen_words_is_dropped(tmp_path: Path, text: str, is_contaminated: bool) -> None:
    path = tmp_path / "test.txt"
    path.write_text(f"A question: {RUN}?")
    assert (outcome(text, path) == "contaminated") == is_contaminated


def test_a_change_during_the_preparation_is_named_and_the_next_one_takes_it(tmp_path: Path) -> None:
    path = tmp_path / "test.txt"
    path.write_text(RUN)
    config = with_evaluation_digest(DataConfig(decontaminate=[str(path)]))
    path.write_text(RUN.upper() + " and more")
    _checked.cache_clear()
    with pytest.raises(UserError, match="the evaluation text changed while the data set was prepared"):
        evaluation_text(config)
    evaluation_text(with_evaluation_digest(config))  # the same command again


def test_number_of_words_can_be_set(tmp_path: Path) -> None:
    path = tmp_path / "test.txt"
    path.write_text("a short question here")
    assert outcome("It is a short question here.", path, words=4) == "contaminated"
    assert isinstance(outcome("It is a short one.", path, words=4), Kept)


def test_characters_are_words_without_blanks(tmp_path: Path) -> None:
    path = tmp_path / "test.txt"
    path.write_text("北京是中华人民共和国的首都城市。ภาษาไทยไม่มีช่องว่างระหว่างคำ")
    assert outcome("他说北京是中华人民共和国的首都城市也好", path) == "contaminated"
    assert outcome("ว่าภาษาไทยไม่มีช่องว่างระหว่างคำนะ", path) == "contaminated"
    assert isinstance(outcome("北京是首都", path), Kept)


def test_every_file_of_evaluation_text_is_read(tmp_path: Path) -> None:
    record = {"question": {"text": [f"Is {RUN} \n it?"]}, "label": 1}
    (tmp_path / "a.json").write_text(json.dumps([record]))
    (tmp_path / "b.jsonl").write_text(json.dumps({"x": "short"}) + "\n\n" + json.dumps(record) + "\n")
    (tmp_path / "c.csv").write_text(f'label,text\n1,"{RUN.replace(" ", ", ", 1)}"\n')
    (tmp_path / "d.tsv").write_text(f"label\ttext\n1\t{RUN}\n")
    (tmp_path / "e.txt.gz").write_bytes(gzip.compress(RUN.encode()))
    (tmp_path / "f").write_text(RUN)
    pq.write_table(pa.table({"label": [1], "texts": [[RUN]]}), tmp_path / "g.parquet")
    for path in sorted(tmp_path.iterdir()):
        assert outcome(f"x {RUN} y", path) == "contaminated", path


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("name", ["a.txt", "a.json", "a.jsonl", "a.csv"])
def test_a_byte_order_mark_tells_the_encoding(tmp_path: Path, name: str, encoding: str) -> None:
    contents = {".txt": RUN, ".json": json.dumps([RUN]), ".jsonl": json.dumps({"q": RUN}), ".csv": f"q\n{RUN}\n"}
    path = tmp_path / name
    path.write_text(contents[path.suffix], encoding=encoding)
    assert outcome(f"x {RUN} y", path) == "contaminated"


@pytest.mark.parametrize(
    ("name", "content", "cause"),
    [
        ("a.txt", LESS, "no passage of 13 words in the evaluation text, so it would drop nothing; the longest has 12"),
        ("a.json", "{", "cannot parse the evaluation text"),
        ("a.parquet", "PAR1", "not a Parquet file"),
    ],
)
def test_file_that_drops_nothing_is_refused(tmp_path: Path, name: str, content: str, cause: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(UserError, match=cause):
        outcome("text", path)
    with pytest.raises(UserError, match="no such file"):
        outcome("text", tmp_path / "missing")


def test_evaluation_text_that_changes_meanwhile_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "test.txt"
    path.write_text(RUN)
    config = with_evaluation_digest(DataConfig(decontaminate=[str(path)]))
    _checked.cache_clear()
    path.write_text(RUN + " fourteen")
    with pytest.raises(UserError, match="changed while"):
        keep(Document("text", "here"), config)


@pytest.mark.parametrize("duplicates", ["none", "exact"])
def test_data_set_holds_no_contaminated_document(tmp_path: Path, duplicates: str) -> None:
    documents = make_documents(40)
    corpus = write_text(tmp_path / "corpus.txt", documents)
    (tmp_path / "test.txt").write_text(documents[3])
    config = small_config(tmp_path / "data", corpus, duplicates=duplicates, decontaminate=[str(tmp_path / "test.txt")])
    manifest = prepare(config)
    assert manifest.drops["contaminated"] == 1
    assert manifest.statistics.documents == 39
    assert prepare(config).digest == manifest.digest
    (tmp_path / "test.txt").write_text(documents[4])
    with pytest.raises(UserError, match="decontaminate_sha256"):
        prepare(config)
