"""Measure the start of a rerun that finds many finished groups, and the assembly of the manifest.

    python -m tests.benchmarks.rerun --groups 100000 [--vocabulary 30522] [--folder FOLDER]

Prepares a corpus of as many work items as `--groups`, up to its first group, whose side file and shards are then
copied for all other groups but one. The rerun is timed from its start to the first work on the remaining group, and
then to the end; its memory is measured at both points. `ratio` is 30 s over the time to the start of work: above 1 is
better. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import resource
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from configs.records import with_checksum, without_checksum
from configs.schema import DataConfig
from preprocessing.documents.file_search import find_files
from preprocessing.documents.plan import make_plan, with_content
from preprocessing.documents.progress import Progress
from preprocessing.groups.group import GroupEntry
from preprocessing.groups.group_keys import GroupKeys
from preprocessing.pipeline import prepare
from preprocessing.resuming.inputs import read_contents
from preprocessing.resuming.parts import finished_parts
from preprocessing.storage.local_store import LocalStore
from preprocessing.vocabulary.vocabulary_files import read_vocabulary

LIMIT_S = 30
DOCUMENTS_A_GROUP = 40
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["".join((a, b, c)) for a in "bdfkmnt" for b in "aeiou" for c in "lstra"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=10_000)
    parser.add_argument("--vocabulary", type=int, default=30_522, help="entries, each of which side files count")
    parser.add_argument("--folder", help="where to put the files; by default in TMPDIR")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        print(json.dumps(measure(arguments.groups, arguments.vocabulary, Path(folder))))


def measure(groups: int, vocabulary: int, folder: Path) -> dict[str, object]:
    """Return the benchmark's figures."""
    config = recipe(groups, vocabulary, folder)
    making = multiprocessing.get_context("spawn").Process(target=finish_all_but_one, args=(config, config.dataset))
    making.start()  # in a process of its own: its memory does not count
    making.join()
    assert making.exitcode == 0
    seen: dict[str, float] = {}

    def watch(progress: Progress) -> None:
        if progress.groups:  # the pipeline starts: finished groups are counted
            seen.setdefault("start_s", time.monotonic() - began)
            seen.setdefault("start_cpu_s", time.process_time() - cpu)
            seen.setdefault("start_peak_mib", peak_mib())

    began, cpu, before_mib = time.monotonic(), time.process_time(), peak_mib()
    parts = finished_parts(LocalStore(Path(config.dataset)))  # as the command line lists them
    listed_s = time.monotonic() - began
    manifest = prepare(config, progress=watch)
    end_s = time.monotonic() - began
    began = time.monotonic()
    assert prepare(config) == manifest
    return {
        "benchmark": "rerun",
        "ratio": round(LIMIT_S / seen["start_s"], 2),
        "reference": f"{LIMIT_S} s until the first unfinished group is begun",
        "groups": groups,
        "shards": len(manifest.shards),
        "parts": len(parts),
        "side_file_bytes": (Path(config.dataset) / "groups/00001.0000.json").stat().st_size,
        "listed_s": round(listed_s, 1),
        **{name: round(value, 1) for name, value in seen.items()},
        "end_s": round(end_s, 1),
        "end_cpu_s": round(time.process_time() - cpu, 1),
        "unchanged_s": round(time.monotonic() - began, 1),
        "before_peak_mib": round(before_mib),
        "end_peak_mib": round(peak_mib()),
    }


def recipe(groups: int, vocabulary: int, folder: Path) -> DataConfig:
    """Write a corpus of `groups` work items, and return its recipe."""
    sentences = [f"{WORDS[n % 175]} {WORDS[n * 7 % 175]} {WORDS[n * 11 % 175]} stands in line.\n" for n in range(1_000)]
    document = "".join(sentences[:3]) + "\n"
    size = DOCUMENTS_A_GROUP * len(document)
    corpus = folder / "corpus.txt"
    with corpus.open("w") as stream:
        for group in range(groups):
            start = 31 * group % 900
            documents = ("".join(sentences[start + n : start + n + 3]) for n in range(DOCUMENTS_A_GROUP))
            stream.write("\n".join(documents) + "\n")
    pieces = [*SPECIAL, *WORDS, *"abcdefghijklmnopqrstuvwxyz.", *(f"##{chr(97 + n)}" for n in range(26))]
    pieces += [f"unused{n}" for n in range(vocabulary - len(pieces))]
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n")
    return DataConfig.model_validate(
        {
            "dataset": str(folder / "dataset"),
            "corpora": [{"paths": [str(corpus)], "format": "text"}],
            "workers": 1,
            "duplicates": "none",
            "dupe_factor": 1,
            "max_seq_length": 64,
            "max_predictions_per_seq": 8,
            "group_bytes": size,
            "held_out_fraction": 0.0,
            "accept_losses": True,
            "vocabulary": {"file": str(folder / "vocab.txt")},
        }
    )


def finish_all_but_one(config: DataConfig, folder: str) -> None:
    """Prepare until a group is finished, then copy it under the names and keys of all other groups but the last."""

    def stop(progress: Progress) -> None:
        if list((Path(folder) / "groups").glob("*.0000.json")):
            raise KeyboardInterrupt

    with suppress(KeyboardInterrupt):
        prepare(config, progress=stop)
    dataset = Path(folder)
    made = sorted((dataset / "groups").glob("*.0000.json"))[0]
    text = (without_checksum(made.read_bytes()) or b"").decode()
    template = GroupEntry.model_validate_json(text)
    store = LocalStore(dataset)
    plan = make_plan([find_files(corpus.paths) for corpus in config.corpora], config)
    plan = with_content(plan, read_contents(store, plan, lambda *_: None), config)
    keys = GroupKeys(
        read_vocabulary(Path(config.vocabulary.file or ""), config.vocabulary).entry().sha256, config, store
    )
    shards = [(dataset / shard.name).read_bytes() for shard in template.shards]
    for item in plan.items[:-1]:
        name = f"{item.name}.0000"
        for shard, content in zip(template.shards, shards, strict=True):
            (dataset / shard.name.replace(template.name, name)).write_bytes(content)
        of_item = text.replace(template.digest, keys.of(item)).replace(f'"{template.name}', f'"{name}')
        of_item = of_item.replace(f"/{template.name}", f"/{name}")
        (dataset / "groups" / f"{name}.json").write_text(with_checksum(of_item) + "\n")
    (dataset / "groups" / f"{plan.items[-1].name}.0000.json").unlink(missing_ok=True)


def peak_mib() -> float:
    """Return the peak memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
