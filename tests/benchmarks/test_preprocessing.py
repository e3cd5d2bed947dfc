"""The benchmark of preparation measures functions that exist, and leaves them as they were."""

from preprocessing.vocabulary.vocabulary import SPECIAL_TOKENS, Vocabulary
from preprocessing.vocabulary.wordpiece import Encoder
from tests.benchmarks.preprocessing import Stages


def test_stages_replace_functions_that_exist_and_restore_them() -> None:
    encode, encoder = Encoder.encode, Encoder(Vocabulary((*SPECIAL_TOKENS, "one"), lowercase=True))
    stages = Stages()
    try:
        ids, _, _ = encoder.encode(["one one"])
    finally:
        stages.restore()
    assert ids.tolist() == [5, 5]
    assert stages.seconds["tokens"] > 0
    assert Encoder.encode is encode
