"""The keys of `[data]`: what each one changes in the data set."""

from __future__ import annotations

from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

from configs.schema import idle_settings
from tests.integration.schema_walk.observing import Seen
from tests.integration.schema_walk.row import Row

MADE = {"shards", "vocabulary", "documents"}


def corpus(name: str, **settings: Any) -> dict[str, Any]:
    """Return the settings that read one file of the inputs."""
    return {"data.corpora": [{"paths": [f"{{in}}/{name}"], "format": "text", **settings}]}


def masked(seen: Seen) -> int:
    return sum(shard.masked_tokens for shard in seen.manifest.shards)


def masked_share(seen: Seen) -> float:
    return masked(seen) / sum(shard.tokens for shard in seen.manifest.shards)


def rows(seen: Seen, split: str = "train") -> int:
    return sum(shard.rows for shard in seen.manifest.shards if shard.split == split)


def longest(seen: Seen) -> int:
    return max(len(pieces) for pieces, _ in seen.originals())


def most_masks(seen: Seen) -> int:
    return max(len(positions) for _, positions in seen.originals())


def shown(seen: Seen) -> tuple[float, float]:
    """Return the shares of masked positions that show [MASK], and that show their own token."""
    mask, hidden, kept, total = seen.words().index("[MASK]"), 0, 0, 0
    for shard in seen.rows():
        for row in range(len(shard)):
            inputs = shard.input_ids[slice(*shard.input_offsets[row : row + 2])]
            at = slice(*shard.masked_offsets[row : row + 2])
            tokens = inputs[shard.masked_lm_positions[at]]
            hidden += int((tokens == mask).sum())
            kept += int((tokens == shard.masked_lm_ids[at]).sum())
            total += len(tokens)
    return hidden / total, kept / total


def part_words(seen: Seen) -> int:
    """Return the number of words of which some pieces are masked and others not."""
    count = 0
    for pieces, positions in seen.originals():
        words = [0]
        for before, piece in pairwise(pieces):
            words.append(words[-1] + (not piece.startswith("##") or before in ("[CLS]", "[SEP]")))
        count += sum(
            len({at for at, word in enumerate(words) if word == touched} - set(positions)) > 0
            for touched in {words[at] for at in positions}
        )
    return count


def repeats(seen: Seen) -> int:
    """Return the number of word pieces that are masked twice in one segment."""
    count = 0
    for pieces, positions in seen.originals():
        end = pieces.index("[SEP]")
        for segment in ([at for at in positions if at < end], [at for at in positions if at > end]):
            chosen = [pieces[at] for at in segment]
            count += len(chosen) - len(set(chosen))
    return count


def mean_run(seen: Seen) -> float:
    """Return the mean number of masked positions that follow each other."""
    runs = [
        len(list(run))
        for _, positions in seen.originals()
        for _, run in groupby(enumerate(positions), lambda pair: pair[1] - pair[0])
    ]
    return sum(runs) / len(runs)


def words_masked(seen: Seen, word: str) -> set[bool]:
    """Return whether both characters of a Chinese word are masked together, wherever one of them is."""
    return {
        at in positions and at + 1 in positions
        for pieces, positions in seen.originals()
        for at in range(len(pieces) - 1)
        if pieces[at : at + 2] == list(word) and {at, at + 1} & set(positions)
    }


def sentences(seen: Seen) -> int:
    return seen.manifest.statistics.sentences


def documents(seen: Seen) -> int:
    return seen.manifest.statistics.documents


def cleaned(seen: Seen) -> bool:
    """Return whether the cleaned text is kept in the data set's folder."""
    assert seen.dataset
    return any(seen.dataset.glob(".prepare/cleaned-*"))


def drops(seen: Seen, cause: str) -> int:
    return seen.manifest.drops.get(cause, 0)


GERMAN = corpus("german.txt")
CHINESE = corpus("chinese.txt") | {"data.whole_word_masking": True}
ROWS = [
    Row(
        "data.dataset", "{folder}/elsewhere", set(), lambda _, b: Path(b.recipe.data.dataset, "manifest.json").exists()
    ),
    Row("data.corpora.0.paths", ["{in}/other.txt"], MADE, lambda a, b: documents(b) == 60),
    Row("data.corpora.0.format", "sentences", {"shards", "documents"}, lambda a, b: 0 < sentences(b) < sentences(a)),
    Row(
        "data.corpora.0.text_field",
        "body",
        {"shards", "vocabulary"},
        lambda a, b: documents(b) == documents(a) == 50,
        corpus("fields.jsonl", format="jsonl"),
    ),
    Row(
        "data.corpora.0.encoding",
        "latin-1",
        MADE,
        lambda a, b: (
            "é" in "".join(b.words()) and "é" not in "".join(a.words()) and drops(a, "invalid_utf8_replaced") > 0
        ),
        corpus("latin.txt")
        | {"data.vocabulary.strip_accents": False, "data.duplicates": "none", "data.accept_losses": True},
    ),
    Row("data.corpora.0.weight", 2.0, {"shards", "documents"}, lambda a, b: rows(b) > 1.8 * rows(a)),
    Row("data.corpora.0.language", "de", {"shards"}, lambda a, b: sentences(b) < sentences(a), GERMAN),
    Row(
        "data.unpack",
        True,
        {"shards"},
        lambda a, b: documents(a) == documents(b) and sentences(a) == sentences(b),
        corpus("packed.txt.gz"),
    ),
    Row("data.workers", 2, {"workers"}, lambda a, b: b["workers"] == 2),
    Row(
        "data.accept_losses",
        True,
        {"refusal"},
        lambda a, b: "60 of 100 documents" in a["refusal"] and documents(b) == 40,
        corpus("lacking.jsonl", format="jsonl"),
    ),
    Row(
        "data.objective",
        "none",
        {"shards", "weights"},
        lambda a, b: (
            all(not shard.next_sentence_label.any() for shard in b.rows())
            and any(shard.next_sentence_label.any() for shard in a.rows())
        ),
    ),
    Row("data.nsp_mode", "reference", {"shards"}, lambda a, b: b.manifest.statistics.forced_random_pairs > 0),
    Row("data.language", "de", {"shards"}, lambda a, b: sentences(b) < sentences(a), GERMAN),
    Row(
        "data.invalid_utf8",
        "refuse",
        {"refusal"},
        lambda a, b: "UTF-8" in b["refusal"] and not a["refusal"],
        corpus("broken.txt"),
    ),
    Row("data.incremental", True, set(), lambda a, b: cleaned(b) and not cleaned(a)),
    Row("data.min_document_chars", 300, MADE, lambda a, b: drops(b, "too_short") == documents(a) - documents(b) > 0),
    Row("data.duplicates", "none", MADE, lambda a, b: documents(b) - documents(a) == drops(a, "exact_duplicate") == 1),
    Row(
        "data.near_duplicate_threshold",
        0.95,
        MADE,
        lambda a, b: drops(a, "near_duplicate") > drops(b, "near_duplicate"),
        {"data.duplicates": "near"},
    ),
    Row(
        "data.boilerplate_documents",
        3,
        MADE,
        lambda a, b: drops(b, "boilerplate_line") > 0 == drops(a, "boilerplate_line"),
    ),
    Row(
        "data.wikitext_templates",
        {"Zeta": "{1} zzz"},
        MADE,
        lambda a, b: drops(a, "unknown_template_text") > 0 == drops(b, "unknown_template_text"),
        corpus("wiki.xml", format="wikipedia"),
    ),
    Row("data.decontaminate", ["{in}/evaluation.txt"], MADE, lambda a, b: drops(b, "contaminated") == 1),
    Row(
        "data.decontaminate_words",
        100,
        {"refusal"},
        lambda a, b: drops(a, "contaminated") == 1 and "no passage of 100 words" in b["refusal"],
        {"data.decontaminate": ["{in}/evaluation.txt"]},
    ),
    Row(
        "data.decontaminate_sha256",
        "0" * 64,
        set(),
        lambda a, b: "decontaminate_sha256" in "".join(idle_settings(b.recipe)) and a.manifest == b.manifest,
    ),
    Row("data.max_seq_length", 32, {"shards"}, lambda a, b: longest(b) == 32 < longest(a) == 48),
    Row(
        "data.short_seq_prob",
        0.9,
        {"shards"},
        lambda a, b: b.manifest.statistics.short_targets > 4 * a.manifest.statistics.short_targets,
    ),
    Row(
        "data.masked_lm_prob",
        0.3,
        {"shards"},
        lambda a, b: 1.8 < masked_share(b) / masked_share(a) < 2.2,
        {"data.max_predictions_per_seq": 20},
    ),
    Row("data.max_predictions_per_seq", 3, {"shards"}, lambda a, b: most_masks(b) == 3 < most_masks(a)),
    Row(
        "data.mask_token_prob",
        0.4,
        {"shards"},
        lambda a, b: abs(shown(a)[0] - 0.8) < 0.1 and abs(shown(b)[0] - 0.4) < 0.1,
    ),
    Row("data.random_token_prob", 0.2, {"shards"}, lambda a, b: shown(a)[1] > 0.05 and shown(b)[1] < 0.03),
    Row("data.whole_word_masking", True, {"shards"}, lambda a, b: part_words(b) == 0 < part_words(a)),
    Row(
        "data.chinese_words",
        "jieba",
        {"shards"},
        lambda a, b: words_masked(b, "历史") == {True} and False in words_masked(a, "历史"),
        CHINESE,
    ),
    Row("data.mask_word_once", True, {"shards"}, lambda a, b: repeats(b) == 0 < repeats(a)),
    Row("data.span_masking", True, {"shards"}, lambda a, b: mean_run(b) > 1.5 * mean_run(a)),
    Row(
        "data.dupe_factor", 3, {"shards"}, lambda a, b: {shard.pass_number for shard in b.manifest.shards} == {0, 1, 2}
    ),
    Row(
        "data.held_out_fraction",
        0.3,
        {"shards", "vocabulary"},
        lambda a, b: rows(b, "held_out") > 2 * rows(a, "held_out"),
    ),
    Row(
        "data.provenance",
        True,
        {"shards"},
        lambda a, b: all(shard.provenance for shard in b.rows()) and not any(shard.provenance for shard in a.rows()),
    ),
    Row("data.seed", 7, {"shards"}, lambda a, b: masked(b) > 0),
    Row("data.group_bytes", 8_000, {"shards", "documents"}, lambda a, b: len(b["shards"]) > len(a["shards"])),
    Row("data.vocabulary.file", "{in}/vocab.txt", MADE, lambda a, b: b.words()[-1] == "##é"),
    Row(
        "data.vocabulary.kind",
        "tokenizer",
        {"shards", "vocabulary"},
        lambda a, b: "Ġ" in b.words() and "Ġ" not in a.words(),
        {"data.vocabulary.size": 300},
    ),
    Row("data.vocabulary.size", 110, {"shards", "vocabulary"}, lambda a, b: len(b.words()) <= 110 < len(a.words())),
    Row(
        "data.vocabulary.lowercase",
        False,
        {"shards", "vocabulary"},
        lambda a, b: (
            any(word.lower() != word for word in b.words()[5:]) and all(word.lower() == word for word in a.words()[5:])
        ),
    ),
    Row(
        "data.vocabulary.strip_accents",
        False,
        {"shards", "vocabulary"},
        lambda a, b: "é" in "".join(b.words()) and "é" not in "".join(a.words()),
    ),
    Row("data.vocabulary.min_frequency", 500, {"shards", "vocabulary"}, lambda a, b: len(b.words()) < len(a.words())),
    Row("data.vocabulary.unused_slots", 5, {"shards", "vocabulary"}, lambda a, b: "[unused4]" in b.words()),
    Row("data.vocabulary.sample_bytes", 3_000, {"shards", "vocabulary"}, lambda a, b: a.words() != b.words()),
]
