"""Fixes of commands that prepare, inspect and verify data sets, and propose recipes."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from preprocessing.resuming.lock import locked
from preprocessing.resuming.share import WHOLE
from preprocessing.storage.local_store import LocalStore
from tests.integration.fixes.case import COMMAND, Case, cut, edit, encoded, write
from tests.integration.small import bertrain, corpus

PREPARE = "prepare recipe.toml"
OTHER = f"{PREPARE} data.seed=7"
NEW = f"{PREPARE} data.dataset=d"  # made anew each time
CORPUS = "data.corpora.0"
LATIN = f"{NEW} data.invalid_utf8=refuse"
OF_CSV = f"{NEW} {CORPUS}.format=csv {CORPUS}.text_field=x"
SAMPLE, VOCABULARY = "data.vocabulary.sample_bytes", "data.vocabulary.file"
MANIFEST = "dataset/manifest.json"
NUMBERS = "\u4e00\u4e8c\u4e09\u56db\u4e94\u516d\u4e03\u516b\u4e5d\u5341"
PARTS = [
    f"{one}\u4e2a\u6587\u4ef6\u3002\n\u7b2c{other}\u4e2a\u53e5\u5b50\u3002" for one in NUMBERS for other in NUMBERS
]
CHINESE = "\n\n".join(PARTS)
LONG = "\n\n".join(corpus(9, seed).replace("\n\n", "\n") for seed in range(9))
HELD: list[object] = []


def fill_manifest(folder: Path) -> None:
    os.truncate(folder / MANIFEST, 1 << 40)


def make_manifest(folder: Path) -> None:
    """Do what the message says: remove the file, and prepare again."""
    (folder / MANIFEST).unlink()
    ended = bertrain(folder, *PREPARE.split(), "--overwrite")
    assert ended.returncode == 0, ended.stderr


def write_latin(folder: Path) -> None:
    (folder / "corpus.txt").write_bytes((folder / "corpus.txt").read_bytes() + b"\n\nCaf\xe9 ba be bi.\n")


def texts_of(folder: Path) -> list[str]:
    return (folder / "corpus.txt").read_text().replace(",", "").split("\n\n")


def write_csv(folder: Path) -> None:
    rows = "".join(f'{number},"{text}"\n' for number, text in enumerate(texts_of(folder)))
    (folder / "corpus.txt").write_text("id,body\n" + rows)


def write_parquet(folder: Path) -> None:
    pq.write_table(pa.table({"body": texts_of(folder), "id": list(range(len(texts_of(folder))))}), folder / "t.parquet")


def compress_parquet(folder: Path) -> None:
    write_parquet(folder)
    (folder / "t.parquet.gz").write_bytes(gzip.compress((folder / "t.parquet").read_bytes()))


def hold_lock(folder: Path) -> None:
    (folder / "d").mkdir()
    lock = locked(LocalStore(folder / "d"), WHOLE)
    lock.__enter__()
    HELD.append(lock)  # the lock ends with the process


def drop_corpus(folder: Path) -> None:
    edit("recipe.toml", '[[data.corpora]]\npaths = ["corpus.txt"]\nformat = "text"\n', "")(folder)


def add_corpus(folder: Path) -> None:
    edit("recipe.toml", "[model]", '[[data.corpora]]\npaths = ["corpus.txt"]\nformat = "text"\n[model]')(folder)


CASES = [
    # What was made before.
    Case("verify dataset", "listed above", COMMAND, cut("dataset/vocab.txt"), None),
    Case("inspect dataset", "not a manifest", COMMAND, edit(MANIFEST, "objective", "Objective"), None),
    Case("inspect dataset", "format version", COMMAND, edit(MANIFEST, '_version": 2', '_version": 9'), None),
    Case("verify dataset", "the manifest is damaged: ", COMMAND, cut(MANIFEST), None),
    Case("verify dataset", "the manifest is damaged: its content is not what", COMMAND, edit(MANIFEST, "0.1", "0.2"),
         None),
    Case("inspect dataset", "It is damaged: restore it from a copy", "remove it and run `bertrain prepare",
         fill_manifest, edit=make_manifest),
    Case("inspect dataset --pass 9", "rows in pass 9", r"from (0) to", as_argument="--pass {}"),
    Case(OTHER, "holds another data set", "--overwrite"),
    Case(OTHER, "holds another data set", "another (data.dataset)", as_argument="{}=another"),
    Case(f"{OTHER} data.dataset=hf", "other files", "data.dataset", as_argument="{}=another"),
    Case(f"{PREPARE} data.dataset=corpus.txt", "a file, not a folder", "data.dataset", as_argument="{}=another"),
    Case(NEW, "another preparation is running here", "another (data.dataset)", hold_lock, "{}=another"),
    # Vocabularies.
    Case(f"{OTHER} {VOCABULARY}=none.txt --overwrite", "cannot read the vocabulary", VOCABULARY, as_argument="{}="),
    Case(f"{NEW} {VOCABULARY}=v.json", "not JSON", VOCABULARY, write("v.json", "{"), "{}=",
         site="preprocessing/vocabulary/tokenizer_json.py:parse_json: set"),
    Case(f"{NEW} {VOCABULARY}=v.json", "not a tokenizer: the file is not", VOCABULARY, write("v.json", "[]"), "{}="),
    Case(f"{NEW} {VOCABULARY}=none.json", "cannot read the vocabulary", VOCABULARY, as_argument="{}="),
    Case(f"{NEW} {VOCABULARY}=hf/tokenizer.json data.vocabulary.lowercase=false", "the tokenizer's casing",
         r"lowercase=true", as_argument="data.vocabulary.{}"),
    Case(f"{NEW} {SAMPLE}=1", "holds no document", SAMPLE, as_argument="{}=90000"),
    # Texts.
    Case(f"{OTHER} data.dataset=.", "an input file is in", "data.dataset", as_argument="{}=another"),
    Case(NEW, "the recipe names no corpus", r"\[\[data\.corpora\]\]", drop_corpus, edit=add_corpus),
    Case(f"{NEW} '{CORPUS}.paths=[\"none.txt\"]'", "no such file", "data.corpora paths",
         as_argument=f"'{CORPUS}.paths=[\"*.txt\"]'"),
    Case(f"{NEW} '{CORPUS}.paths=[\"a\\u0000b\"]'", "a path cannot hold a NUL", "data.corpora paths",
         as_argument=f"'{CORPUS}.paths=[\"corpus.txt\"]'"),
    Case(LATIN, "not UTF-8", 'data.invalid_utf8="replace"', write_latin,
         site="preprocessing/documents/reader.py:_refuse"),
    Case(OF_CSV, "the first line does not name the column", "text_field", write_csv, f"{CORPUS}.{{}}=body"),
    Case(f"{NEW} {CORPUS}.format=parquet '{CORPUS}.paths=[\"t.parquet\"]'", "the file has no column",
         r"text_field to one of the file's columns: (\w+)", write_parquet, f"{CORPUS}.text_field={{}}"),
    Case(f"{NEW} {CORPUS}.format=parquet {CORPUS}.text_field=id '{CORPUS}.paths=[\"t.parquet\"]'",
         "the column 'id' holds",
         r"text_field to one of the file's columns: (\w+)", write_parquet, f"{CORPUS}.text_field={{}}"),
    Case(f"{NEW} {CORPUS}.format=parquet {CORPUS}.text_field=body '{CORPUS}.paths=[\"t.parquet.gz\"]'",
         "is not read through another compression", "data.corpora paths", compress_parquet,
         f"'{CORPUS}.paths=[\"t.parquet\"]'"),
    Case(f"{NEW} {CORPUS}.format=wikiextractor", "holds no <doc id=...> element, as WikiExtractor",
         "the corpus's (format)",
         as_argument=f"{CORPUS}.{{}}=text"),
    Case(f"{NEW} {CORPUS}.encoding=utf-16", "", r'encoding = "(utf-16-le)"', encoded("utf-16-le"),
         f"{CORPUS}.encoding={{}}", site="preprocessing/documents/encodings.py:_Transcoded._decoded"),
    Case(NEW, "this is UTF-16 text", r'encoding = "([\w-]+)"', encoded("utf-16"), f"{CORPUS}.encoding={{}}",
         site="preprocessing/documents/signatures.py:_refuse_wide_characters: set"),
    Case(NEW, "it holds NUL bytes", r'encoding = "([\w-]+)"', encoded("utf-16-le"), f"{CORPUS}.encoding={{}}"),
    Case(NEW, "ISO 2022: it holds its escape sequences", r'encoding = "([\w-]+)"', encoded("iso2022_jp_2",
         "日本語の文です。\n\n"),
         f"{CORPUS}.encoding={{}}"),
    Case(f"{NEW} '{CORPUS}.paths=[\"corpus.txt\", \"b.bin\"]'", "binary data, not text: it holds NUL bytes",
         "data.corpora paths", write("b.bin", b"\x00\x01\x02\x00" * 99), f"'{CORPUS}.paths=[\"corpus.txt\"]'"),
    Case(f"{NEW} {CORPUS}.format=parquet {CORPUS}.encoding=latin-1 {CORPUS}.text_field=body "
         f"'{CORPUS}.paths=[\"t.parquet\"]'", "files state how they encode text", "remove the key encoding",
         write_parquet,
         "", rf"{CORPUS}\.encoding=.*"),
    Case(f"{NEW} data.min_document_chars=9000", "holds no document to train on", "min_document_chars",
         as_argument="data.{}=9"),
    Case(f"{NEW} 'data.decontaminate=[\"e.txt\"]'", "no passage of", r"the longest has (\d+)", write("e.txt",
         "ba be bi bo"),
         "data.decontaminate_words={}"),
    Case(f"{NEW} 'data.decontaminate=[\"e.txt\"]'", "no passage of", "remove the file", write("e.txt", "ba be bi bo"),
         "data.decontaminate=[]"),
    Case(NEW, "this is not UTF-8 text, but probably HZ", r'encoding = "(hz)"', write("corpus.txt",
         CHINESE.encode("hz")),
         f"{CORPUS}.encoding={{}}"),
    Case(f"{NEW} data.group_bytes=1000", "no other document in their group", r"raise (data\.group_bytes)",
         write("corpus.txt", LONG), "{}=64000000"),
    # Machines and packages.
    Case(f"{NEW} -- --streaming", "runner options without a runner", "omit the options", as_argument="",
         instead_of="--|--streaming"),
    Case(f"{NEW} data.duplicates=near", "near duplicates need datasketch", r'set (data\.duplicates="exact")',
         lacks="datasketch"),
    Case(f"{NEW} data.chinese_words=jieba data.whole_word_masking=true", "Chinese words need jieba",
         r'set (data\.chinese_words="characters")', lacks="jieba"),
    # Proposals.
    Case("init corpus.txt -o recipe.toml", "the file exists already", "--output", as_argument="{} other.toml"),
    Case("init corpus.txt t.parquet -o other.toml", "the files have several formats", "the files of one format",
         write_parquet, "", r"t\.parquet"),
]  # fmt: skip
