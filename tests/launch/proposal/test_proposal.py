"""`bertrain init`: the recipe says what the files hold, and its preparation works as it is."""

from __future__ import annotations

import bz2
import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from configs.errors import UserError
from configs.recipe import load_recipe
from launch.proposal.corpus import examine, sniff
from launch.proposal.language import FREQUENT, guess_language
from launch.proposal.recipe_text import write_proposal
from launch.proposal.shape import choose_shape
from tests.integration.small import bertrain, corpus

SENTENCES = {
    "en": "The house that is at the end of the road was sold, and it is not for rent by them as you know.",
    "de": "Das Haus, das am Ende der Straße steht, ist verkauft, und es ist nicht zu mieten, auch für ihn.",
    "fr": "La maison qui est au bout de la rue est vendue, et elle n'est pas à louer dans le mois que vous dites.",
    "nl": "Het huis dat aan het einde van de straat staat is verkocht en het is niet te huur voor een maand met hem.",
    "ru": "Дом, который стоит в конце улицы, продан.",
    "ja": "通りの端にある家は売れました。",
    "zh": "街尽头的房子已经卖掉了。",
    "el": "Το σπίτι στο τέλος του δρόμου πουλήθηκε.",
}


@pytest.mark.parametrize(("language", "text"), SENTENCES.items(), ids=list(SENTENCES))
def test_languages_are_known_by_script_and_words(language: str, text: str) -> None:
    assert guess_language(text * 3) == language


@pytest.mark.parametrize("text", ["", "a good film 1", "x y z " * 100, "12 34", corpus(20)])
def test_a_text_that_says_nothing_is_english(text: str) -> None:
    assert guess_language(text) == "en"


def test_codes_are_those_of_recipes() -> None:
    for code in FREQUENT:
        assert load_recipe("demo", [f"data.language={code}"]).data.language == code


def written(folder: Path) -> dict[str, Path]:
    """Write the same documents in several formats; return the files by format."""
    texts = corpus(40).strip().split("\n\n")
    files = {
        "text": folder / "corpus.txt.gz",
        "jsonl": folder / "corpus.jsonl",
        "csv": folder / "corpus.csv",
        "tsv": folder / "corpus.tsv",
        "parquet": folder / "corpus.parquet",
        "wikipedia": folder / "dump.xml.bz2",
        "wikiextractor": folder / "wiki_00",
    }
    files["text"].write_bytes(gzip.compress("\n\n".join(texts).encode()))
    files["jsonl"].write_text("".join(json.dumps({"id": "1", "content": text}) + "\n" for text in texts))
    files["csv"].write_text("id;body\n" + "".join(f"{n};{text!r}\n" for n, text in enumerate(texts)))
    lines = (text.replace("\n", " ") for text in texts)
    files["tsv"].write_text("id\tbody\n" + "".join(f"{n}\t{text}\n" for n, text in enumerate(lines)))
    pa.parquet.write_table(pa.table({"url": ["u"] * len(texts), "text": texts}), files["parquet"])
    pages = "".join(f"<page><title>t</title><ns>0</ns><text>{text}</text></page>\n" for text in texts)
    files["wikipedia"].write_bytes(bz2.compress(f"<mediawiki>\n{pages}</mediawiki>".encode()))
    documents = (f'<doc id="{n}" title="t">\n{text}\n</doc>\n' for n, text in enumerate(texts))
    files["wikiextractor"].write_text("".join(documents))
    return files


def test_formats_and_columns_are_known_by_content(tmp_path: Path) -> None:
    columns = {"jsonl": "content", "csv": "body", "tsv": "body"}
    for kind, file in written(tmp_path).items():
        found = examine([str(file)])
        assert (found.format, found.files, found.bytes) == (kind, 1, file.stat().st_size)
        assert found.settings == ({"text_field": columns[kind]} if kind in columns else {})


JSON_RECORDS = {
    "content.text": {"id": "a long identifier", "content": {"text": "A house and a road.", "words": 5}},
    "paragraphs": {"id": "a long identifier", "paragraphs": ["A house.", "And a road."]},
}


@pytest.mark.parametrize("name", JSON_RECORDS)
def test_text_in_nested_values_is_found(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.jsonl").write_text(f"{json.dumps(JSON_RECORDS[name])}\n{{broken\n" * 10)
    found = examine([str(tmp_path / "a.jsonl")])
    assert (found.format, found.settings) == ("jsonl", {"text_field": name})


@pytest.mark.parametrize("separator", ["", " ", "\r", "\r\n", "\n\x1e"])
def test_objects_are_examined_whatever_parts_them(tmp_path: Path, separator: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(separator.join(['{"id": "1", "body": "Some text."}'] * 20).encode())
    found = examine([str(tmp_path / "a.jsonl")])
    assert (found.format, found.settings) == ("jsonl", {"text_field": "body"})


def test_json_in_another_encoding_is_json(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes('{"body": "Größe, Straße, Übung"}\n'.encode("cp1252") * 40)
    found = examine([str(tmp_path / "a.jsonl")])
    assert (found.format, found.settings["text_field"]) == ("jsonl", "body")
    assert "Größe" in (tmp_path / "a.jsonl").read_bytes().decode(found.settings["encoding"])


@pytest.mark.parametrize("text", ["[{}, {}]", "[\n  {}\n]"])
def test_a_json_array_is_refused_as_by_its_preparation(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text.replace("{}", '{"text": "A house."}'))
    with pytest.raises(UserError, match=r"a JSON array.*jq -c"):
        examine([str(tmp_path / "a.json")])


def columnar_files(folder: Path) -> list[Path]:
    """Write a table whose text has a short name, and an identifier a long one."""
    table = pa.table({"story": ["A house and a road."] * 40, "identifier_of_the_source": ["x"] * 40})
    files = [folder / name for name in ("a.parquet", "stream.arrow", "file.arrow")]
    pa.parquet.write_table(table, files[0])
    for file, write in zip(files[1:], (pa.ipc.new_stream, pa.ipc.new_file), strict=True):
        with write(str(file), table.schema) as writer:
            writer.write_table(table)
    return files


def test_the_column_with_the_most_text_is_chosen(tmp_path: Path) -> None:
    for file in columnar_files(tmp_path):
        assert examine([str(file)]).settings == {"text_field": "story"}, file


def test_damaged_columns_are_named(tmp_path: Path) -> None:
    for file in columnar_files(tmp_path):
        file.write_bytes(file.read_bytes()[:300])
        with pytest.raises(UserError, match=r"damaged|truncated"):
            examine([str(file)])


def test_a_table_of_one_column_has_no_separator(tmp_path: Path) -> None:
    rows = "".join(f'"One; story, number {number}"\n' for number in range(30))
    (tmp_path / "a.csv").write_text(f"story\n{rows}")
    assert examine([str(tmp_path / "a.csv")]).settings == {"text_field": "story"}


def test_compressed_files_of_a_folder_count_as_more_text(tmp_path: Path) -> None:
    written(tmp_path)
    found = examine([str(tmp_path / "corpus.txt.gz")])
    assert found.text_bytes == 3 * found.bytes
    found = examine([str(tmp_path / "corpus.csv")])
    assert found.text_bytes == found.bytes


def test_another_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes((SENTENCES["de"] + " Größe, Straße, Übung. ").encode("cp1252") * 40)
    encoding = examine([str(tmp_path / "a.txt")]).settings["encoding"]
    assert "Größe" in (tmp_path / "a.txt").read_bytes().decode(encoding)


def test_files_without_blank_lines_are_documents_if_there_are_several(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.txt").write_text("One line.\nAnother line.\n")
    assert examine([str(tmp_path)]).format == "files"
    assert sniff(str(tmp_path / "0.txt")) == "text"


def test_several_formats_and_empty_files_are_refused(tmp_path: Path) -> None:
    files = written(tmp_path)
    with pytest.raises(UserError, match=r"several formats: .*jsonl.*"):
        examine([str(files["jsonl"]), str(files["wikipedia"])])
    (tmp_path / "empty.txt").touch()
    with pytest.raises(UserError, match="is empty"):
        examine([str(tmp_path / "empty.txt")])
    with pytest.raises(UserError, match="no such file"):
        examine([str(tmp_path / "none")])


@pytest.mark.parametrize(
    ("gpus", "mib", "base"),
    [(0, 1, "one_gpu_small"), (0, 10_000, "one_gpu_small"), (1, 100, "one_gpu_small"), (8, 100, "one_gpu_small"),
     (1, 10_000, "one_gpu_day"), (8, 10_000, "base_phase1")],
)  # fmt: skip
def test_the_machine_and_the_text_decide_the_size(gpus: int, mib: int, base: str) -> None:
    shape = choose_shape(gpus, mib << 20)
    assert shape.base == base
    overrides = [f"{section}.{key}={value}" for section, keys in shape.sections.items() for key, value in keys.items()]
    recipe = load_recipe(base, overrides)
    assert recipe.train.global_batch_size >= recipe.train.micro_batch_size
    assert recipe.cluster.gpus_per_node <= max(gpus, 1)


def test_an_existing_file_stays(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("mine")
    with pytest.raises(UserError, match="exists already"):
        write_proposal([str(tmp_path)], tmp_path / "mine.toml")
    assert (tmp_path / "mine.toml").read_text() == "mine"


def test_the_recipe_prepares_as_it_is(tmp_path: Path) -> None:
    written(tmp_path)
    made = bertrain(tmp_path, "init", "corpus.jsonl", "-o", "my news.toml")
    assert made.returncode == 0, made.stderr
    assert "next: `bertrain prepare 'my news.toml'`" in made.stdout
    recipe = load_recipe(tmp_path / "my news.toml")
    assert (recipe.name, recipe.data.corpora[0].text_field) == ("my-news", "content")
    prepared = bertrain(tmp_path, "prepare", "my news.toml", "data.workers=1")
    assert prepared.returncode == 0, prepared.stderr
    assert (tmp_path / "datasets/my-news/manifest.json").is_file()
