"""The folders in which the documentation's commands run: small files at the paths that they name."""

from __future__ import annotations

import bz2
import gzip
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.integration.small import corpus, environment

TIMEOUT_S = 1800
DUMP = "enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"  # of the recipe `demo`

MINE = """\
base = "demo"
name = "mine"
[[data.corpora]]
paths = ["corpus.txt"]
format = "text"
[data]
dataset = "datasets/mine"
[optimizer]
warmup_steps = 1
[train]
steps = 4
global_batch_size = 16
micro_batch_size = 2
[cluster]
device = "cpu"
ranks_per_node = 1
"""
LAYER = re.compile(r"encoder\.(\d+)\.")
TASK = """\
[task]
kind = "classify"
data = "reviews.csv"
[finetune]
epochs = 1
"""

# Commands that run until they are stopped, and what they have printed when they are: a step, a table, a line.
UNTIL_STOPPED = {
    r"^bertrain train demo": r"^saved .*step_0000002[5-9]",  # which an example of `evaluate` names
    r"^bertrain train (news|first)\.toml": r"^step +\d",
    r"^torchrun .* news\.toml": r"^step +\d",
    r"--watch": r"demo",
    r"--follow": r".",
    r"^bertrain tensorboard": r"http://(localhost|127\.0\.0\.1)",
}


@dataclass(frozen=True)
class Ended:
    """How a printed command ended."""

    code: int
    output: str
    stopped: bool  # by Ctrl-C, because it runs until then


def run(folder: Path, command: str) -> Ended:
    """Run a printed line in a shell. Press Ctrl-C in one that does not end by itself, once it has done its work."""
    pattern = next((text for name, text in UNTIL_STOPPED.items() if re.search(name, command)), None)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.Popen(
        ["bash", "-c", command],
        cwd=folder,
        env=environment() | {"PATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    seen: list[str] = []
    stopped = False
    if pattern:
        for line in process.stdout:
            seen.append(line)
            if re.search(pattern, line):
                os.killpg(process.pid, signal.SIGINT)  # as a terminal does
                stopped = True
                break
    output = process.communicate(timeout=TIMEOUT_S)[0]
    return Ended(process.returncode, "".join(seen) + output, stopped)


def make_readers_folder(folder: Path) -> None:
    """Write text at the paths that the README names, and labelled reviews."""
    documents = [json.dumps({"text": text}) for text in corpus(300).split("\n\n")]
    (folder / "corpora/news").mkdir(parents=True)
    with gzip.open(folder / "corpora/news/first.jsonl.gz", "wt") as stream:
        stream.write("\n".join(documents[:150]))
    (folder / "corpora/news/second.jsonl").write_text("\n".join(documents[150:]))
    write_reviews(folder)


def make_helpers_folder(folder: Path) -> None:
    """Write the files that the lines of `--help` name, and make what they expect: datasets/demo, runs/demo, …"""
    (folder / "corpus").mkdir()
    (folder / "corpus" / DUMP).write_bytes(bz2.compress(wikipedia(150).encode()))
    (folder / "corpus.txt").write_text(corpus(200))
    (folder / "mine.toml").write_text(MINE)
    (folder / "phase2.toml").write_text(MINE.replace('"mine"', '"phase2"'))
    (folder / "task.toml").write_text(TASK)
    (folder / "tasks.toml").write_text(TASK.replace("[task]", '[[tasks]]\nname = "reviews"'))
    (folder / "sentences.txt").write_text("One text here.\nAnother text there.\n")
    write_reviews(folder)
    write_questions(folder)
    for command in ("bertrain prepare demo", "bertrain prepare mine.toml", "bertrain train demo"):
        ended = run(folder, command)
        assert ended.code == (75 if ended.stopped else 0), f"{command}\n{ended.output}"
    write_bert(folder)


def write_bert(folder: Path) -> None:
    """Write bert-base-uncased: the layers of runs/demo four times, with its vocabulary, but 512 positions."""
    from pretrain.huggingface import load_pretrained, write_hugging_face_folder

    model = load_pretrained(folder / "runs/demo")
    (name,) = (name for name in model.weights if name.endswith("position.weight"))
    weights = model.weights | {name: model.weights[name].repeat(8, 1)}
    layers = model.config.num_hidden_layers
    for key in model.weights:
        found = LAYER.search(key)
        for copy in range(1, 4) if found else ():
            assert found is not None
            weights[LAYER.sub(f"encoder.{int(found[1]) + copy * layers}.", key)] = model.weights[key].clone()
    sizes = {"max_position_embeddings": len(weights[name]), "num_hidden_layers": 4 * layers}
    config = model.config.model_copy(update=sizes)
    (folder / "bert-base-uncased").mkdir()
    write_hugging_face_folder(folder / "bert-base-uncased", config, model.vocabulary, weights)


def write_reviews(folder: Path) -> None:
    reviews = [(f"a {word} film {number}", word) for number in range(60) for word in ("good", "bad")]
    (folder / "reviews.csv").write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in reviews))
    new = "".join(f"{text},{text}\n" for text, _ in reviews[:5])
    (folder / "new-reviews.csv").write_text("text,body\n" + new)


def write_questions(folder: Path) -> None:
    paragraphs = []
    for number in range(40):
        context = f"The town of {number} houses lies at a river. It has a bridge of stone."
        answer = {"text": "a river", "answer_start": context.index("a river")}
        asked = [{"id": str(number), "question": "Where does it lie?", "answers": [answer]}]
        paragraphs.append({"context": context, "qas": asked})
    squad = {"version": "1.1", "data": [{"title": "towns", "paragraphs": paragraphs}]}
    for name in ("squad.json", "dev.json"):
        (folder / name).write_text(json.dumps(squad))


def wikipedia(pages: int) -> str:
    """Return a dump of MediaWiki with pages of invented text."""
    texts = corpus(pages).strip().split("\n\n")
    page = "<page><title>P{0}</title><ns>0</ns><id>{0}</id><revision><id>{0}</id><text>{1}</text></revision></page>\n"
    body = "".join(page.format(number, text * 2) for number, text in enumerate(texts, 1))
    info = "<siteinfo><dbname>enwiki</dbname><namespaces><namespace key='0'/></namespaces></siteinfo>"
    return f'<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/" xml:lang="en">{info}\n{body}</mediawiki>\n'
