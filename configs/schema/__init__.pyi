# The door of configs.schema: what other packages and rooms import from it.

from .cluster import ClusterConfig as ClusterConfig
from .data import DataConfig as DataConfig, settled_fields as settled_fields
from .idle import idle_settings as idle_settings
from .made_with import (
    DifferingSetting as DifferingSetting,
    differing_settings as differing_settings,
    recipe_of_data as recipe_of_data,
)
from .model import Activation as Activation, ModelConfig as ModelConfig
from .paths import LocalPath as LocalPath, expanded as expanded
from .patterns import fill_pattern as fill_pattern, is_pattern as is_pattern
from .recipe import Recipe as Recipe
from .rows import (
    MaskingConfig as MaskingConfig,
    Objective as Objective,
    PairingConfig as PairingConfig,
    RowsConfig as RowsConfig,
)
from .section import Section as Section, digest_of as digest_of
from .text import (
    TRAINED_ONLY as TRAINED_ONLY,
    CleaningConfig as CleaningConfig,
    CorpusConfig as CorpusConfig,
    ReadingConfig as ReadingConfig,
    TextConfig as TextConfig,
    VocabularyConfig as VocabularyConfig,
    is_text_encoding as is_text_encoding,
)
from .training import (
    CheckpointConfig as CheckpointConfig,
    MixedDataset as MixedDataset,
    OptimizerConfig as OptimizerConfig,
    TrainConfig as TrainConfig,
)
