# The door of preprocessing.dataset: what other packages and rooms import from it.

from .cost import (
    core_seconds as core_seconds,
    fingerprint_seconds as fingerprint_seconds,
    shard_bytes as shard_bytes,
    training_seconds as training_seconds,
)
from .figures import (
    SPLITS as SPLITS,
    CorpusFigures as CorpusFigures,
    ManifestEntry as ManifestEntry,
    PassLosses as PassLosses,
    PiecesInNoRow as PiecesInNoRow,
    Split as Split,
)
from .file_counts import FileCounts as FileCounts, Lost as Lost
from .manifest import (
    CARD as CARD,
    FORMAT_VERSION as FORMAT_VERSION,
    MANIFEST as MANIFEST,
    PICTURES as PICTURES,
    SHARDS as SHARDS,
    TOKENIZER as TOKENIZER,
    VOCABULARY as VOCABULARY,
    InputEntry as InputEntry,
    Manifest as Manifest,
    ShardEntry as ShardEntry,
    Statistics as Statistics,
    VocabularyEntry as VocabularyEntry,
    VocabularyFile as VocabularyFile,
    existing_shards as existing_shards,
    manifest_text as manifest_text,
    parse_manifest as parse_manifest,
    read_manifest as read_manifest,
    vocabulary_file as vocabulary_file,
    write_manifest as write_manifest,
)
from .seal import sealed_text as sealed_text
from .shard import (
    PROVENANCE_COLUMNS as PROVENANCE_COLUMNS,
    DamagedShardError as DamagedShardError,
    HashingStream as HashingStream,
    IntArray as IntArray,
    Provenance as Provenance,
    Rows as Rows,
    add_shard as add_shard,
    check_shard as check_shard,
    local_shard as local_shard,
    read_shard as read_shard,
    token_dtype as token_dtype,
    vocabulary_of_shard as vocabulary_of_shard,
    write_shard as write_shard,
)
from .sound_rows import (
    UNREADABLE as UNREADABLE,
    open_sound_shard as open_sound_shard,
    read_sound_shard as read_sound_shard,
)
