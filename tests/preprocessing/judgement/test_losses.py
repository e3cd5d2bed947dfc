"""The judgement: losses are counted by cause and file, warned of from 5 %, refused from 50 %, and the fixes work."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from configs.errors import UserError
from configs.records import with_checksum, without_checksum
from configs.schema import DataConfig
from preprocessing.dataset import FileCounts, Lost, Manifest, read_manifest
from preprocessing.inspection import verify
from preprocessing.inspection.data_card import card_text
from preprocessing.pipeline import prepare
from preprocessing.storage import store_at
from preprocessing.vocabulary import Vocabulary
from tests.preprocessing.corpora import make_documents, small_config, wikipedia_xml, write_text

RUSSIAN = "Москва является столицей. В городе живёт много людей номер {}. Город стоит на реке. Река течёт на юг."


def recipe(folder: Path, path: Path, form: str = "text", encoding: str = "utf-8", **more: Any) -> DataConfig:
    corpora = [{"paths": [str(path)], "format": form, "encoding": encoding}]
    changes: dict[str, Any] = {"dupe_factor": 1, "held_out_fraction": 0.0, "corpora": corpora} | more
    return small_config(folder / "dataset", path, **changes)


def json_lines(path: Path, good: int, bad: list[str]) -> Path:
    lines = [json.dumps({"text": text}) for text in make_documents(good)]
    path.write_text("\n".join([*bad, *lines]) + "\n", encoding="utf-8")
    return path


def test_counts_of_each_file_are_in_the_manifest_and_the_card(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name, bad in (("a", ["{broken", '{"title": "x"}', '{"text": ""}']), ("b", [])):
        json_lines(tmp_path / "in" / f"{name}.jsonl", 40, bad)
    manifest = prepare(recipe(tmp_path, tmp_path / "in", "jsonl"))
    one, other = (entry.counts for entry in manifest.inputs)
    assert (one.documents, one.kept) == (43, 40)
    assert one.dropped == {
        "broken_json": Lost(documents=1, bytes=8),
        "no_text_field": Lost(documents=1, bytes=15),
        "empty": Lost(documents=1, bytes=13),
    }
    assert other.dropped == {"exact_duplicate": Lost(documents=40, bytes=other.read_bytes)}
    assert read_manifest(tmp_path / "dataset") == manifest
    assert list(verify(tmp_path / "dataset")) == []
    vocabulary = Vocabulary.of_data_set(store_at(tmp_path / "dataset"), manifest.vocabulary)
    card = card_text("dataset", manifest, vocabulary)
    assert "| 0 | `a.jsonl` | 0.0 | 43 | 40 | 1 broken json, 1 empty, 1 no text field |" in card
    assert "| 0 | `b.jsonl` | 0.0 | 40 | 0 | 40 exact duplicate |" in card


@pytest.mark.parametrize("duplicates", ["none", "exact"])
def test_counts_do_not_depend_on_the_stage_that_reads(tmp_path: Path, duplicates: str) -> None:
    path = json_lines(tmp_path / "a.jsonl", 60, ["{broken"] * 2)
    config = recipe(tmp_path, path, "jsonl", duplicates=duplicates, group_bytes=4_000)
    (entry,) = prepare(config).inputs
    assert entry.counts.dropped == {"broken_json": Lost(documents=2, bytes=16)}
    assert (entry.counts.documents, entry.counts.read_bytes) == (62, path.stat().st_size)


def test_most_documents_lost_is_refused_and_can_be_accepted(tmp_path: Path) -> None:
    path = json_lines(tmp_path / "a.jsonl", 30, ['{"content": {"text": "Nothing here."}}'] * 60)
    with pytest.raises(UserError, match=r"66\.7% of the corpus is lost: 60 of 90 documents") as raised:
        prepare(recipe(tmp_path, path, "jsonl"))
    assert raised.value.place == str(path)
    assert "text_field" in raised.value.fix
    assert "data.accept_losses=true" in raised.value.fix
    assert prepare(recipe(tmp_path, path, "jsonl", accept_losses=True)).statistics.documents == 30


def test_the_fix_for_documents_without_text_is_one_of_their_format(tmp_path: Path) -> None:
    dump = tmp_path / "dump.xml"
    dump.write_text(wikipedia_xml([("A page", text) for text in make_documents(9)] + [("B", "{|\n| x\n|}")] * 20))
    with pytest.raises(UserError, match=r"20 of 29 documents .* most for documents without text") as raised:
        prepare(recipe(tmp_path, dump, "wikipedia"))
    assert raised.value.fix.startswith("check data.corpora (paths, format, encoding), or keep")


def test_accepting_the_losses_reuses_the_groups(tmp_path: Path) -> None:
    config = recipe(tmp_path, json_lines(tmp_path / "a.jsonl", 30, ['{"content": "x"}'] * 60), "jsonl")
    with pytest.raises(UserError, match="of the corpus is lost"):
        prepare(config)
    made = {shard: shard.stat().st_mtime_ns for shard in (tmp_path / "dataset").glob("shards/*")}
    prepare(config.model_copy(update={"accept_losses": True}))
    assert made == {shard: shard.stat().st_mtime_ns for shard in (tmp_path / "dataset").glob("shards/*")}
    assert made


def test_what_was_refused_can_be_made_with_another_recipe(tmp_path: Path) -> None:
    path = json_lines(tmp_path / "a.jsonl", 0, [json.dumps({"body": text}) for text in make_documents(30)] * 2)
    path.write_text(path.read_text() + "".join(json.dumps({"text": text}) + "\n" for text in make_documents(29, 2)))
    first = recipe(tmp_path, path, "jsonl", duplicates="none")
    with pytest.raises(UserError, match="of the corpus is lost"):
        prepare(first)
    corpora = [{"paths": [str(path)], "format": "jsonl", "text_field": ["text", "body"]}]
    fixed = recipe(tmp_path, path, "jsonl", duplicates="none", corpora=corpora)
    assert prepare(fixed).statistics.documents == 89


@pytest.mark.parametrize(("bad", "is_named"), [(2, False), (4, True)])
def test_some_documents_lost_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, bad: int, is_named: bool
) -> None:
    path = json_lines(tmp_path / "a.jsonl", 56, ["{broken"] * bad)
    with caplog.at_level(logging.WARNING):
        prepare(recipe(tmp_path, path, "jsonl"))
    assert ("lines that are not JSON" in caplog.text) == is_named


def test_bytes_count_as_much_as_documents(tmp_path: Path) -> None:
    path = json_lines(tmp_path / "a.jsonl", 60, ['{"other": "%s"}' % ("x" * 200_000)])
    with pytest.raises(UserError, match=r"1 of 61 documents \(0\.2 MB\) are dropped"):
        prepare(recipe(tmp_path, path, "jsonl"))


def test_one_lost_corpus_of_a_mixture_is_refused(tmp_path: Path) -> None:
    good = write_text(tmp_path / "good.txt", make_documents(300))
    bad = json_lines(tmp_path / "bad.jsonl", 4, ['{"body": "x"}'] * 20)
    corpora = [{"paths": [str(good)], "format": "text"}, {"paths": [str(bad)], "format": "jsonl"}]
    with pytest.raises(UserError, match=r"20 of 2[04] documents") as raised:
        prepare(small_config(tmp_path / "dataset", good, corpora=corpora))
    assert raised.value.place == str(bad)


def test_a_corpus_or_a_file_that_adds_nothing_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    documents = make_documents(40)
    good, copy = write_text(tmp_path / "good.txt", documents), write_text(tmp_path / "copy.txt", documents[:3])
    (tmp_path / "empty.txt").write_text("\n\n")
    corpora = [{"paths": [str(path)], "format": "text"} for path in (good, copy, tmp_path / "empty.txt")]
    with caplog.at_level(logging.WARNING):
        prepare(small_config(tmp_path / "dataset", good, corpora=corpora))
    assert f"{copy}: this corpus adds nothing to the data set (dropped: 3 exact_duplicate)" in caplog.text
    assert f"{tmp_path / 'empty.txt'}: 1 of 3 input files hold no document" in caplog.text
    assert f"{good}: this corpus" not in caplog.text


def test_what_the_recipe_wishes_is_no_loss(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    documents = make_documents(40)
    path = write_text(tmp_path / "a.txt", [*documents, *documents * 4, *["Short."] * 90])
    with caplog.at_level(logging.WARNING):
        manifest = prepare(recipe(tmp_path, path, min_document_chars=20))
    assert manifest.drops["exact_duplicate"] == 160
    assert manifest.drops["too_short"] == 90
    assert "lost" not in caplog.text


def test_another_encoding_is_refused_and_the_named_one_reads_it(tmp_path: Path) -> None:
    documents = [RUSSIAN.format(number) for number in range(60)]
    path = tmp_path / "a.txt"
    path.write_bytes("\n\n".join(documents).encode("cp1251"))
    with pytest.raises(UserError, match=r"100\.0% of the documents hold bytes that are not UTF-8") as raised:
        prepare(recipe(tmp_path, path))
    assert (raised.value.place, raised.value.fix.partition(" for ")[0]) == (str(path), 'set encoding = "cp1251"')
    manifest = prepare(recipe(tmp_path, path, encoding="cp1251"))
    whole = write_text(tmp_path / "b.txt", documents)
    same = prepare(small_config(tmp_path / "utf8", whole, dupe_factor=1, held_out_fraction=0.0))
    assert manifest.drops == {}
    assert [shard.sha256 for shard in manifest.shards] == [shard.sha256 for shard in same.shards]


def vocabulary_file(folder: Path, *pieces: str) -> dict[str, str]:
    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    (folder / "vocab.txt").write_text("\n".join([*special, *pieces]) + "\n", encoding="utf-8")
    return {"file": str(folder / "vocab.txt")}


def test_an_unreachable_vocabulary_is_refused_and_the_named_casing_reads_it(tmp_path: Path) -> None:
    documents = [f"{'한국 사람 ' * (2 + number % 5)}. 서울 {'대한 ' * (number % 7)}." for number in range(60)]
    path = write_text(tmp_path / "a.txt", documents)
    vocabulary = vocabulary_file(tmp_path, ".", "한국", "사람", "서울", "대한")
    config: dict[str, Any] = {"duplicates": "none", "language": "ko"}
    with pytest.raises(UserError, match="of the text's characters become") as raised:
        prepare(recipe(tmp_path, path, vocabulary=vocabulary, **config))
    assert raised.value.fix.startswith("set lowercase=true, strip_accents=false in data.vocabulary")
    fixed = {**vocabulary, "strip_accents": False}
    statistics = prepare(recipe(tmp_path, path, vocabulary=fixed, **config)).statistics
    assert (statistics.unknown_chars, statistics.chars) == (0, sum(len(text.replace(" ", "")) for text in documents))


def test_unknown_is_judged_by_characters_and_long_words_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    documents = [f"{text} {'ab' * (60 + number)}." for number, text in enumerate(make_documents(60))]
    with caplog.at_level(logging.WARNING):
        statistics = prepare(recipe(tmp_path, write_text(tmp_path / "a.txt", documents))).statistics
    assert statistics.overlong_chars == sum(2 * (60 + number) for number in range(60))
    assert statistics.unknown_chars >= statistics.overlong_chars
    assert "become [UNK], most in words of more than 100 characters" in caplog.text
    assert statistics.token_counts[1] < 0.02 * sum(statistics.token_counts)  # few tokens, many characters


def test_cased_text_with_an_uncased_vocabulary_names_its_casing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_text(tmp_path / "a.txt", make_documents(60))
    uncased = recipe(tmp_path / "uncased", path)
    prepare(uncased)
    vocabulary = {"file": str(tmp_path / "uncased/dataset/vocab.txt")}
    caplog.clear()
    prepare(recipe(tmp_path / "cased", path, vocabulary=vocabulary | {"lowercase": False}))
    assert "become [UNK]: the vocabulary has no capital letters; set lowercase=true in data.vocabulary" in caplog.text
    caplog.clear()
    prepare(recipe(tmp_path / "fixed", path, vocabulary=vocabulary | {"lowercase": True}))
    assert "[UNK]" not in caplog.text


def test_unknown_is_judged_by_corpus(tmp_path: Path) -> None:
    """A small corpus in another script disappears in the figures of all corpora."""
    english = write_text(tmp_path / "a.txt", make_documents(200))
    chinese = write_text(tmp_path / "b.txt", ["我们在这里。他们也在这里。" * 3, "今天天气很好。明天也好。" * 2])
    corpora = [{"paths": [str(path)], "format": "text"} for path in (english, chinese)]
    words = sorted({word for text in make_documents(200) for word in text.lower().replace(".", " ").split()})
    vocabulary = vocabulary_file(tmp_path, ".", *words)
    with pytest.raises(UserError, match=r"100\.0% of the characters of data\.corpora\.1 become \[UNK\]"):
        prepare(recipe(tmp_path, english, corpora=corpora, vocabulary=vocabulary))


def test_groups_of_a_build_that_did_not_count_by_corpus_are_judged_together(tmp_path: Path) -> None:
    paths = [write_text(tmp_path / f"{name}.txt", make_documents(60, seed)) for seed, name in enumerate("ab")]
    corpora = [{"paths": [str(path)], "format": "text"} for path in paths]
    vocabulary = vocabulary_file(tmp_path, ".", "text", "begins")
    config = recipe(tmp_path, paths[0], corpora=corpora, vocabulary=vocabulary)
    with pytest.raises(UserError, match=r"of the characters of data\.corpora\.\d become \[UNK\]"):
        prepare(config)
    for number, path in enumerate(sorted((tmp_path / "dataset/groups").glob("0*"))):
        entry = json.loads(without_checksum(path.read_bytes()) or b"")
        if number == 0:  # as an earlier build left it
            for figures in entry["corpora"]:
                for name in ("chars", "unknown_chars", "overlong_chars"):
                    del figures[name]
        path.write_text(with_checksum(json.dumps(entry, separators=(",", ":"))) + "\n")
    with pytest.raises(UserError, match="of the text's characters become"):
        prepare(config)


def test_format_1_has_no_counts(tmp_path: Path) -> None:
    manifest = prepare(recipe(tmp_path, write_text(tmp_path / "a.txt", make_documents(40))))
    fields = manifest.model_dump(by_alias=True)
    for name in ("counts",):
        fields["inputs"][0].pop(name)
    for name in ("chars", "unknown_chars", "overlong_chars"):
        fields["statistics"].pop(name)
    older = Manifest.model_validate(fields)
    assert (older.inputs[0].counts, older.statistics.chars) == (FileCounts(), 0)
    vocabulary = Vocabulary.of_data_set(store_at(tmp_path / "dataset"), older.vocabulary)
    assert "of its characters" in card_text("dataset", manifest, vocabulary)
    assert "of its characters" not in card_text("dataset", older, vocabulary)
