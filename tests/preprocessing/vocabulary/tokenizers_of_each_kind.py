"""Tokenizers of each kind, trained on real lines: byte-level BPE, Unigram, WordPiece, three each, and others."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from preprocessing.vocabulary.tokenizer_json import TokenizerJson
from preprocessing.vocabulary.vocabulary import Vocabulary

LINES = [
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of folly.",
    "Don't you think they're late?  We'd waited 12,345 minutes (more than 8 days!); she'll say: \"I've had enough.\"",
    "Es war einmal eine kleine süße Dirne, die hatte jedermann lieb, der sie nur ansah; am liebsten ihre Großmutter.",
    "Longtemps, je me suis couché de bonne heure. Parfois, à peine ma bougie éteinte, mes yeux se fermaient si vite…",
    "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему.",
    "En un lugar de la Mancha, de cuyo nombre no quiero acordarme, no ha mucho tiempo que vivía un hidalgo.",
    "道可道，非常道。名可名，非常名。無名天地之始；有名萬物之母。",
    "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。",
    "كان يا ما كان، في قديم الزمان، ملكٌ له ثلاث بنات.",
    "एक समय की बात है, एक राजा था जिसकी तीन बेटियाँ थीं।",
    "옛날 옛적에 한 마을에 착한 나무꾼이 살았습니다.",
    "กาลครั้งหนึ่งนานมาแล้ว มีพระราชาองค์หนึ่ง",
    "def area(radius): return 3.14159 * radius ** 2  # in m², see https://example.org/?q=1&r=2",
]
BERT_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ROBERTA_TOKENS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
_GPT4 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _byte_level(pre: pre_tokenizers.PreTokenizer, special: list[str], nfc: bool = False) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    if nfc:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer, tokenizer.decoder = pre, decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(LINES, trainer)
    return tokenizer


def _unigram(
    normalizer: normalizers.Normalizer | None, pre: pre_tokenizers.PreTokenizer, special: list[str], unknown: str
) -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer, tokenizer.decoder = pre, decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=400, special_tokens=special, unk_token=unknown, show_progress=False)
    tokenizer.train_from_iterator(LINES, trainer)
    return tokenizer


def _word_piece(normalizer: normalizers.Normalizer, pre: pre_tokenizers.PreTokenizer) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token=BERT_TOKENS[1]))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, pre
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=400, special_tokens=BERT_TOKENS, show_progress=False)
    tokenizer.train_from_iterator(LINES, trainer)
    return tokenizer


def _gpt2() -> Tokenizer:
    return _byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False), ["<|endoftext|>"])


def _roberta() -> Tokenizer:
    return _byte_level(pre_tokenizers.ByteLevel(add_prefix_space=True), ROBERTA_TOKENS)


def _llama3() -> Tokenizer:
    split = pre_tokenizers.Split(Regex(_GPT4), "isolated")
    pre = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    return _byte_level(pre, BERT_TOKENS, nfc=True)


def _modernbert() -> Tokenizer:
    tokenizer = _byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False), BERT_TOKENS, nfc=True)
    tokenizer.add_tokens([AddedToken("  ", normalized=False), AddedToken("it was", normalized=False)])
    return tokenizer


def _xlmr() -> Tokenizer:
    steps = [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    pre = pre_tokenizers.Metaspace(prepend_scheme="always")
    return _unigram(normalizers.Sequence(steps), pre, ROBERTA_TOKENS, "<unk>")


def _albert() -> Tokenizer:
    steps = [normalizers.Replace("``", '"'), normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]
    pre = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")])
    return _unigram(normalizers.Sequence(steps), pre, BERT_TOKENS, "[UNK]")


def _t5() -> Tokenizer:
    return _unigram(None, pre_tokenizers.Metaspace(prepend_scheme="never"), ["<pad>", "</s>", "<unk>"], "<unk>")


def _unsplit() -> Tokenizer:
    return _unigram(None, pre_tokenizers.Metaspace(split=False), ROBERTA_TOKENS, "<unk>")


def _cased_bert() -> Tokenizer:
    normalizer = normalizers.BertNormalizer(clean_text=False, lowercase=False, handle_chinese_chars=False)
    return _word_piece(normalizer, pre_tokenizers.BertPreTokenizer())


def _plain_word_piece() -> Tokenizer:
    steps = [normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents()]
    return _word_piece(normalizers.Sequence(steps), pre_tokenizers.Whitespace())


def _digits_word_piece() -> Tokenizer:
    steps = [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation(), pre_tokenizers.Digits(True)]
    return _word_piece(normalizers.NFKC(), pre_tokenizers.Sequence(steps))


def _clip() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token=ROBERTA_TOKENS[3], end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.WhitespaceSplit(), decoders.BPEDecoder()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=ROBERTA_TOKENS, end_of_word_suffix="</w>", show_progress=False
    )
    tokenizer.train_from_iterator(LINES, trainer)
    return tokenizer


def _letters() -> Tokenizer:
    tokens = [*BERT_TOKENS, *"ACDEFGHIKLMNPQRSTVWY"]
    tokenizer = Tokenizer(models.WordLevel({token: place for place, token in enumerate(tokens)}, BERT_TOKENS[1]))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return tokenizer


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "gpt2": _gpt2,
    "roberta": _roberta,
    "llama3": _llama3,
    "modernbert": _modernbert,
    "xlmr": _xlmr,
    "albert": _albert,
    "t5": _t5,
    "unsplit": _unsplit,
    "cased_bert": _cased_bert,
    "plain_word_piece": _plain_word_piece,
    "digits_word_piece": _digits_word_piece,
    "clip": _clip,
    "letters": _letters,
}
CUT = set(KINDS) - {"unsplit", "letters"}  # at blanks


@cache
def tokenizer_of(kind: str) -> Tokenizer:
    """The tokenizer, as its owner has it."""
    return KINDS[kind]()


@cache
def vocabulary_of(kind: str) -> Vocabulary:
    """The vocabulary that a data set has of it."""
    return Vocabulary.of_tokenizer(TokenizerJson.parse(tokenizer_of(kind).to_str().encode(), f"{kind}.json"))
