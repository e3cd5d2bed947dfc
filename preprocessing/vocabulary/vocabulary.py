"""A vocabulary: BERT's WordPiece, or that of any Hugging Face tokenizer.

BERT's is `vocab.txt`, with one word piece per line, whose line number is its id; `wordpiece.Encoder` encodes text into
its ids, and `training.train_vocabulary` trains one on a corpus. Any other is its `tokenizer.json`.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from configs.errors import UserError
from configs.files import MOST_MODEL_BYTES, atomic_write, read_bounded
from preprocessing.dataset import TOKENIZER, VOCABULARY, IntArray, VocabularyEntry, VocabularyFile, token_dtype
from preprocessing.storage import Store
from preprocessing.vocabulary.tokenizer_json import CLS, MASK, PAD, SEP, UNK, TokenizerJson

SPECIAL_TOKENS = (PAD, UNK, CLS, SEP, MASK)
CONTINUATION = "##"
MAX_WORD_CHARS = 100  # a longer word becomes [UNK], as in Hugging Face's tokenizers; Google's script allows 200
UNUSED = re.compile(r"\[unused\d+\]")


@dataclass(frozen=True)
class Vocabulary:
    """Word pieces in the order of their ids, and whether text is lower-cased and stripped of accents.

    With `source`, it is the vocabulary of any tokenizer, which does what its tokenizer.json says to the case of text.
    """

    pieces: tuple[str, ...]
    lowercase: bool
    strip_accents: bool | None = None  # None becomes the value of `lowercase`, as in the published BERT
    source: TokenizerJson | None = None

    def __post_init__(self) -> None:
        if self.strip_accents is None:
            object.__setattr__(self, "strip_accents", self.lowercase)

    def __len__(self) -> int:
        return len(self.pieces)

    @classmethod
    def of_data_set(cls, store: Store, entry: VocabularyEntry) -> Vocabulary:
        """Return the vocabulary in a data set's file, with the casing that the manifest records.

        Raises `UserError` when the file is missing or differs from the manifest.
        """
        place = f"{store.place}/{entry.file}"
        content = store.read(entry.file, MOST_MODEL_BYTES)
        if content is None or hashlib.sha256(content).hexdigest() != entry.sha256:
            state = "missing" if content is None else "damaged: its SHA-256 is not the manifest's"
            fix = "run `bertrain prepare RECIPE` again: it makes only what is missing or damaged"
            raise UserError(f"the vocabulary is {state}", place=place, fix=fix)
        if entry.file == TOKENIZER:
            return cls.of_tokenizer(TokenizerJson.parse(content, place))
        return cls.parse(content, place, entry.lowercase, entry.strip_accents)

    @classmethod
    def of_tokenizer(cls, source: TokenizerJson) -> Vocabulary:
        """Return the vocabulary of a tokenizer.json."""
        return cls(source.pieces, False, False, source)

    @classmethod
    def read(cls, path: Path, lowercase: bool, strip_accents: bool | None = None) -> Vocabulary:
        """Read a `vocab.txt`. Raises `UserError` with the cause and the place of what is wrong."""
        try:
            content = read_bounded(path, MOST_MODEL_BYTES)
        except OSError as error:
            fix = "set data.vocabulary.file to a vocab.txt, or leave it unset to train one"
            raise UserError(f"cannot read the vocabulary: {error.strerror}", place=str(path), fix=fix) from error
        return cls.parse(content, path, lowercase, strip_accents)

    @classmethod
    def parse(cls, content: bytes, path: str | Path, lowercase: bool, strip_accents: bool | None = None) -> Vocabulary:
        """The same from the bytes of the file, which errors name."""
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise UserError("the vocabulary is not UTF-8 text", place=str(path), fix="save it as UTF-8") from error
        # Not splitlines(): published vocabularies hold U+0085 and U+2028 as pieces.
        lines = text.removesuffix("\n").split("\n")
        vocabulary = cls(tuple(line.removesuffix("\r") for line in lines), lowercase, strip_accents)
        check_pieces(vocabulary.pieces, path)
        return vocabulary

    def write(self, path: Path) -> None:
        """Write its file atomically."""
        with atomic_write(path) as stream:
            stream.write(self.content())

    @property
    def file(self) -> VocabularyFile:
        """The name of its file in a data set."""
        return TOKENIZER if self.source else VOCABULARY

    def name_of(self, special: str) -> str:
        """Return the name of one of BERT's special tokens in this vocabulary, which can be another, such as `<s>`."""
        return self.source.names[special] if self.source else special

    def id_of(self, special: str) -> int:
        """Return the id of one of BERT's special tokens."""
        return self.ids[self.name_of(special)]

    @cached_property
    def ids(self) -> dict[str, int]:
        """The id of each piece."""
        return {piece: number for number, piece in enumerate(self.pieces)}

    @cached_property
    def ordinary_ids(self) -> IntArray:
        """The ids that a random replacement can take: all but special tokens and `[unusedN]` slots."""
        return np.array(
            [
                number
                for number, piece in enumerate(self.pieces)
                if piece not in self._special and not UNUSED.fullmatch(piece)
            ],
            dtype=token_dtype(len(self)),
        )

    @cached_property
    def _special(self) -> frozenset[str]:
        return self.source.special if self.source else frozenset(SPECIAL_TOKENS)

    @cached_property
    def is_continuation(self) -> NDArray[np.bool_]:
        """For each id, whether its piece continues a word, by its form. Only word pieces of BERT's have such a form."""
        if self.source:
            return np.zeros(len(self), np.bool_)
        return np.array([piece.startswith(CONTINUATION) for piece in self.pieces], np.bool_)

    @cached_property
    def sha256(self) -> str:
        """The hexadecimal SHA-256 of the file that `write` creates."""
        return hashlib.sha256(self.content()).hexdigest()

    def entry(self) -> VocabularyEntry:
        """Return the vocabulary's entry in the manifest."""
        return VocabularyEntry(
            sha256=self.sha256,
            size=len(self),
            lowercase=self.lowercase,
            strip_accents=self.strip_accents,
            pad_id=self.id_of(PAD),
            unk_id=self.id_of(UNK),
            cls_id=self.id_of(CLS),
            sep_id=self.id_of(SEP),
            mask_id=self.id_of(MASK),
            file=self.file,
        )

    def tokenizer(self, *, of_words: bool = False) -> Tokenizer:
        """Return the Hugging Face tokenizer of this vocabulary, for decoding and export.

        `of_words` is for text that comes as a list of words: each gets the blank that it has in a text.

        Like other Hugging Face tokenizers, it treats a literal `[MASK]` in a text as the special token;
        the encoders do not.
        """
        if self.source:
            return self.source.tokenizer(of_words=of_words)
        tokenizer = Tokenizer(self.model())
        tokenizer.normalizer = bert_normalizer(self.lowercase, self.strip_accents)
        tokenizer.pre_tokenizer = bert_splitter()
        tokenizer.decoder = decoders.WordPiece(prefix=CONTINUATION)
        tokenizer.post_processor = processors.BertProcessing((SEP, self.ids[SEP]), (CLS, self.ids[CLS]))
        tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
        return tokenizer

    def model(self) -> models.WordPiece:
        """Return the Hugging Face model that splits a word into pieces, longest match first, from left to right."""
        return models.WordPiece(self.ids, unk_token=UNK, max_input_chars_per_word=MAX_WORD_CHARS)

    def content(self) -> bytes:
        """Return the content of the file that `write` creates."""
        if self.source:
            return self.source.text.encode()
        return "".join(f"{piece}\n" for piece in self.pieces).encode()


def bert_normalizer(lowercase: bool, strip_accents: bool | None = None) -> normalizers.Normalizer:
    """Return BERT's text normaliser. If `strip_accents` is None, it has the value of `lowercase`."""
    return normalizers.BertNormalizer(lowercase=lowercase, strip_accents=strip_accents)


def bert_splitter() -> pre_tokenizers.PreTokenizer:
    """Return BERT's splitter of clean text into words, at white space and around punctuation."""
    return pre_tokenizers.BertPreTokenizer()


def check_pieces(pieces: tuple[str, ...], path: str | Path) -> None:
    """Raise `UserError` unless the pieces are not empty, are unique, and include all special tokens."""
    missing = [token for token in SPECIAL_TOKENS if token not in set(pieces)]
    if missing:
        fix = f"use a WordPiece vocabulary, which has {', '.join(SPECIAL_TOKENS)}, each on a separate line"
        raise UserError(f"the vocabulary lacks {', '.join(missing)}", place=str(path), fix=fix)
    if "" in pieces:
        line = pieces.index("") + 1
        raise UserError("the vocabulary has an empty line", place=f"{path}, line {line}", fix="remove it")
    piece, occurrences = Counter(pieces).most_common(1)[0]
    if occurrences > 1:
        line = pieces.index(piece, pieces.index(piece) + 1) + 1
        raise UserError(f"`{piece}` appears twice in the vocabulary", place=f"{path}, line {line}", fix="remove one")
