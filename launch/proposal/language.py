"""Guess the language of a text from its script and its most frequent words."""

from __future__ import annotations

import unicodedata
from collections import Counter

DEFAULT = "en"
LEAST_WORDS = 5  # different frequent words: the letter "a" alone is one of many languages
LEAST_SHARE = 0.05  # of the words that are frequent ones of the guessed language

# Scripts that few languages use: the first word of a letter's Unicode name, and the language that most texts are in.
OF_SCRIPT = {
    "HIRAGANA": "ja", "KATAKANA": "ja", "HANGUL": "ko", "CJK": "zh", "THAI": "th", "GREEK": "el", "HEBREW": "he",
    "ARABIC": "ar", "DEVANAGARI": "hi", "BENGALI": "bn", "TAMIL": "ta", "KHMER": "km", "TIBETAN": "bo",
    "GEORGIAN": "ka", "ARMENIAN": "hy", "CYRILLIC": "ru",
}  # fmt: skip

# The most frequent words of languages in Latin script.
FREQUENT = {
    "en": "the of and to in is that for was with as on by it from are at this be or which",
    "de": "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch",
    "fr": "le la les de des et en un une du est dans que pour qui par sur au avec il pas",
    "es": "de la que el en y los se del las un por con una su para es al lo como más",
    "it": "di che e la il un a è per una in del sono con non della le si dei nel",
    "pt": "de que e o a do da em um para com não uma os no se na por mais as",
    "nl": "de van het een en in is dat op te zijn met voor niet aan er door ook bij naar",
    "sv": "och i att det som en på är av för med till den har de inte om ett var",
    "da": "og i at det er en til af på for med der de den som ikke et har om",
    "pl": "w i na z do się jest nie że to o jak a po od za przez dla są",
    "cs": "a v se na je že s z do o i to k ve pro za by jako jsou",
    "tr": "ve bir bu için ile de da olarak çok daha olan sonra kadar ne gibi en",
    "fi": "ja on ei se että hän oli joka mutta ovat kun myös niin ole sen",
}


def guess_language(text: str) -> str:
    """Return the code of the text's language; English where neither its script nor its words say another one."""
    scripts = Counter(unicodedata.name(letter, "").partition(" ")[0] for letter in text[:50_000] if letter.isalpha())
    if scripts["HIRAGANA"] + scripts["KATAKANA"] > 0.05 * scripts.total():  # Japanese is written in CJK, too
        return "ja"
    script, count = next(iter(scripts.most_common(1)), ("LATIN", 0))
    if script in OF_SCRIPT and count > scripts.total() / 2:
        return OF_SCRIPT[script]
    words = Counter(text.lower().split())
    found = {code: [words[word] for word in frequent.split() if words[word]] for code, frequent in FREQUENT.items()}
    best = max(found, key=lambda code: sum(found[code]))
    is_clear = len(found[best]) >= LEAST_WORDS and sum(found[best]) >= LEAST_SHARE * words.total()
    return best if is_clear else DEFAULT
