"""The WordPiece vocabulary, under the public name."""

from preprocessing.vocabulary import Vocabulary as Vocabulary
