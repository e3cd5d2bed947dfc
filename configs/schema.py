"""The recipe: every setting of bertrain, typed, with its unit, range and default.

One section a component; a component is given its own section only. What can be derived (vocabulary size, gradient
accumulation, the DeepSpeed configuration) is not a setting. Fields marked `RUNTIME` do not change a data set's bytes.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

RUNTIME: dict[str, Any] = {"determines_bytes": False}

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Objective = Literal["nsp", "sop", "none"]

# What may end in a script or an argv of a scheduler.
OneLine = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]+$")]
SlurmName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.,-]*$")]
SlurmExpression = Annotated[str, Field(pattern=r"^[A-Za-z0-9_(\[][A-Za-z0-9_.,:&|*()\[\]-]*$")]
SlurmOption = Annotated[str, Field(pattern=r"^--[a-z][a-z0-9-]*(=[^\x00-\x1f\x7f]*)?$")]
HostName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]

# Options of sbatch that the script's coming back hangs on.
OWN_SBATCH_OPTIONS = (
    "array",
    "chdir",
    "error",
    "exclude",
    "export",
    "export-file",
    "get-user-env",
    "job-name",
    "nodes",
    "no-requeue",
    "ntasks",
    "ntasks-per-node",
    "open-mode",
    "output",
    "requeue",
    "signal",
    "time",
    "wrap",
)


class Section(BaseModel):
    """A table of the recipe. Frozen. An unknown key is an error, and so is a value of another type ("5" for 5)."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True, allow_inf_nan=False)


class CorpusConfig(Section):
    """One corpus: files of one format."""

    paths: list[str] = Field(
        min_length=1, description="Files, folders or globs, local or at URLs such as s3://bucket/corpus."
    )
    format: Literal["wikipedia", "wikiextractor", "text", "sentences", "files", "jsonl", "parquet"] = Field(
        description="wikipedia: MediaWiki XML dump; wikiextractor: <doc> elements; text: blank line between documents; "
        "sentences: so too, and a line is a sentence; files: a file is a document; jsonl: an object a line is one; "
        "parquet: a row is one."
    )
    text_field: str = Field("text", description="jsonl, parquet: the field or column that holds a document's text.")
    weight: float = Field(
        1.0,
        gt=0.0,
        le=100.0,
        description="How often each document is taken, with other pairs and masks each time. 2.5: twice, and half of "
        "the documents, chosen by digest, once more. 0.5: half of them. Held-out documents are taken once at most.",
    )


class VocabularyConfig(Section):
    """The WordPiece vocabulary: a given file, or one trained on the corpus."""

    file: str | None = Field(
        None,
        description="A vocab.txt or tokenizer.json to use; unset: train one on the corpus.",
        json_schema_extra=RUNTIME,
    )
    size: int = Field(30_522, ge=100, le=1_000_000, description="Entries to train, special tokens included.")
    lowercase: bool = Field(True, description="Lower-case the text (an uncased model).")
    strip_accents: bool | None = Field(None, description="Strip accents; unset: where the text is lower-cased.")
    min_frequency: int = Field(2, ge=1, description="Occurrences a word piece needs to enter a trained vocabulary.")
    unused_slots: int = Field(
        0, ge=0, description="Of the entries to train, how many to leave free as [unused0], [unused1] ..."
    )
    sample_bytes: int = Field(
        1 << 30, ge=1, description="Bytes of text to train on: all of a smaller corpus, an even sample of a larger."
    )

    @model_validator(mode="after")
    def _slots_leave_room(self) -> VocabularyConfig:
        if 2 * self.unused_slots > self.size:
            raise ValueError(f"unused_slots {self.unused_slots} is above half of size {self.size}; lower the former")
        return self


class DataConfig(Section):
    """The data set: which text, and how it becomes pairs with masks."""

    dataset: str = Field(
        "datasets/default",
        description="Folder of the data set: `prepare` writes it, `train` reads it.",
        json_schema_extra=RUNTIME,
    )
    corpora: list[CorpusConfig] = Field([], description="Where the text comes from.", json_schema_extra=RUNTIME)
    workers: int = Field(
        0,
        ge=0,
        description="Preparation processes on this machine; 0: one a CPU core, fewer for a small corpus.",
        json_schema_extra=RUNTIME,
    )
    objective: Objective = Field(
        "nsp",
        description="Beside masked words: nsp: does B follow A, or come from elsewhere; sop: are A and B in order, "
        "or swapped; none: nothing.",
    )
    nsp_mode: Literal["balanced", "reference"] = Field(
        "balanced",
        description="nsp: balanced: labels are even, and lengths tell nothing of them; reference: as Google's script.",
    )
    language: str = Field("en", pattern=r"^[a-z]{2,3}$", description="ISO 639 code, for the sentence splitter.")
    invalid_utf8: Literal["replace", "refuse"] = Field(
        "replace", description="Bytes that are not UTF-8: replace by U+FFFD and count, or refuse the file."
    )
    min_document_chars: int = Field(1, ge=1, description="Shorter documents are dropped and counted.")
    duplicates: Literal["none", "exact", "near"] = Field(
        "exact",
        description="Which documents to drop as repetitions of an earlier one: none; exact: of the same text once it "
        "is cleaned; near: also those that share most of their runs of five words (needs the extra `near`).",
    )
    near_duplicate_threshold: float = Field(
        0.8, ge=0.5, le=0.95, description="near: the share of all runs of both documents that is in both (Jaccard)."
    )
    boilerplate_documents: int | None = Field(
        None, ge=2, description="A line that stands in so many documents is removed from all; unset: lines stay."
    )
    max_seq_length: int = Field(
        128, ge=16, le=32_768, description="Most tokens of a pair, [CLS] and both [SEP] included."
    )
    short_seq_prob: Fraction = Field(0.1, description="Share of documents whose rows aim at a random shorter length.")
    masked_lm_prob: float = Field(0.15, gt=0.0, lt=1.0, description="Share of a pair's tokens to predict.")
    max_predictions_per_seq: int = Field(20, ge=1, description="Most masked positions of a pair.")
    mask_token_prob: Fraction = Field(0.8, description="Share of chosen positions that become [MASK].")
    random_token_prob: Fraction = Field(
        0.1, description="Share that becomes a random ordinary token; the rest stays as it is."
    )
    whole_word_masking: bool = Field(False, description="Choose whole words to predict, with all of their pieces.")
    mask_word_once: bool = Field(
        False,
        description="Of equal words in a segment (equal word pieces without whole_word_masking) choose one at most.",
    )
    dupe_factor: int = Field(
        10, ge=1, le=1000, description="Passes over the corpus, each with its own pairs and masks."
    )
    held_out_fraction: float = Field(
        0.01, ge=0.0, lt=1.0, description="Share of documents, chosen by digest, kept out of training for evaluation."
    )
    provenance: bool = Field(
        False, description="Write for each row which documents and sentences its segments come from, as more columns."
    )
    seed: int = Field(12_345, ge=0, lt=2**63, description="Seed of pairs and masks.")
    group_bytes: int = Field(
        64_000_000,
        ge=1_000,
        le=64_000_000,
        description="Bytes of text a group: the unit of work, about a shard a pass. A corpus of less than 16 groups is "
        "cut finer. A worker needs up to 1 GiB for the largest.",
    )
    vocabulary: VocabularyConfig = Field(VocabularyConfig(), description="The WordPiece vocabulary.")

    @model_validator(mode="after")
    def _shares_fit(self) -> DataConfig:
        if self.mask_token_prob + self.random_token_prob > 1.0 + 1e-9:
            raise ValueError("mask_token_prob + random_token_prob is above 1; lower one of them")
        if self.max_predictions_per_seq > self.max_seq_length - 3:
            raise ValueError(
                f"max_predictions_per_seq is {self.max_predictions_per_seq}, but {self.max_seq_length} tokens "
                f"hold {self.max_seq_length - 3} ordinary ones; lower it"
            )
        return self

    @property
    def compares_documents(self) -> bool:
        """Whether what becomes of a document hangs on the rest of the corpus."""
        return self.duplicates != "none" or self.boilerplate_documents is not None

    def byte_fields(self) -> dict[str, Any]:
        """The fields that determine a data set's bytes (no paths, no workers), as plain JSON values."""
        return _byte_fields(self)


class ModelConfig(Section):
    """BERT's shape. The vocabulary's size comes from the data set."""

    hidden_size: int = Field(768, ge=8, description="Width of the encoder.")
    num_hidden_layers: int = Field(12, ge=1, description="Transformer layers.")
    num_attention_heads: int = Field(12, ge=1, description="Attention heads a layer; divides hidden_size.")
    intermediate_size: int = Field(3072, ge=8, description="Width of the feed-forward layer.")
    max_position_embeddings: int = Field(512, ge=16, description="Positions; at least the data's max_seq_length.")
    hidden_dropout_prob: float = Field(0.1, ge=0.0, lt=1.0, description="Dropout of embeddings and sub-layers.")
    attention_probs_dropout_prob: float = Field(0.1, ge=0.0, lt=1.0, description="Dropout of attention weights.")
    initializer_range: float = Field(0.02, gt=0.0, description="Standard deviation of the initial weights.")
    layer_norm_eps: float = Field(1e-12, gt=0.0, description="Epsilon of LayerNorm.")
    norm: Literal["post", "pre"] = Field(
        "post", description="LayerNorm after each residual sum as published, or before each sub-layer as in Megatron."
    )
    decoder_bias_init: Literal["zeros", "unigram"] = Field(
        "zeros", description="Start of the masked-LM bias: zeros as published, or the log of the token frequencies."
    )

    @model_validator(mode="after")
    def _heads_divide(self) -> ModelConfig:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads {self.num_attention_heads}"
            )
        return self


class OptimizerConfig(Section):
    """The optimizer and its learning-rate schedule."""

    name: Literal["adamw", "lamb"] = Field(
        "adamw", description="AdamW, or LAMB for large batches; neither decays biases and LayerNorm."
    )
    learning_rate: float = Field(1e-4, gt=0.0, description="Peak learning rate, reached at the end of the warmup.")
    beta1: float = Field(0.9, ge=0.0, lt=1.0, description="Decay of the gradient's running mean.")
    beta2: float = Field(0.999, ge=0.0, lt=1.0, description="Decay of the squared gradient's running mean.")
    eps: float = Field(1e-6, gt=0.0, description="Added to the update's denominator.")
    weight_decay: float = Field(0.01, ge=0.0, description="Decoupled weight decay.")
    gradient_clipping: float = Field(1.0, ge=0.0, description="Bound on the global gradient norm; 0: none.")
    warmup_steps: int = Field(10_000, ge=0, description="Steps over which the learning rate rises linearly from 0.")
    decay: Literal["linear", "polynomial", "constant"] = Field(
        "linear", description="After the warmup: to 0 at train.steps, evenly or by a power of what is left, or not."
    )
    decay_power: float = Field(0.5, gt=0.0, description="Exponent of the polynomial decay; below 1 it ends steeply.")
    decay_steps: int = Field(
        0,
        ge=0,
        description="Last steps, over which the rate falls from its peak; 0: all after the warmup. To begin the decay "
        "at any checkpoint, resume from it with train.steps at its step + decay_steps.",
    )


class MixedDataset(Section):
    """One data set of a mixture."""

    dataset: str = Field(description="Folder or URL of the data set.")
    weight: float = Field(gt=0.0, description="Its share of the rows, beside the others' weights.")


class TrainConfig(Section):
    """The training loop."""

    steps: int = Field(1_000_000, ge=1, description="Optimizer steps in all.")
    budget_min: float = Field(
        0.0,
        ge=0.0,
        description="Minutes of training over all starts, evaluations and saves apart, when it ends and the decay "
        "reaches 0, unless train.steps are over before; 0: no such end. Not repeatable to the last bit.",
    )
    global_batch_size: int = Field(256, ge=1, description="Rows (pairs) an optimizer step, over all ranks.")
    first_global_batch_size: int = Field(
        1, ge=1, description="Rows of the first step, if the batch grows; at most global_batch_size."
    )
    batch_growth_steps: int = Field(
        0, ge=0, description="Steps over which rows a step grow linearly to global_batch_size; 0: it is so from step 1."
    )
    micro_batch_size: int = Field(32, ge=1, description="Most rows a rank takes at once; accumulation follows.")
    zero_stage: Literal[0, 1, 2, 3] = Field(
        1, description="ZeRO: 0 replicates, 1 shards optimizer state, 2 gradients, 3 weights."
    )
    activation_checkpointing: bool = Field(
        False,
        description="Keep one tensor a layer for the backward pass and compute the rest anew: less memory, same "
        "result, a third more work.",
    )
    offload_optimizer: bool = Field(
        False,
        description="Keep master weights and moments in the host's memory and update them there (ZeRO-Offload): less "
        "GPU memory, slower steps. For AdamW at ZeRO stage 1 and above.",
    )
    precision: Literal["bf16", "fp16", "fp32"] = Field(
        "bf16", description="bf16 with fp32 master weights; fp16 with them and a dynamic loss scale, on GPUs; or fp32."
    )
    kernels: Literal["auto", "triton", "reference"] = Field(
        "auto", description="Fused operations: Triton's on a GPU and plain torch's elsewhere, or always one of them."
    )
    seed: int = Field(42, ge=0, lt=2**63, description="Seed of initial weights, data order and dropout.")
    initialise_from: str | None = Field(
        None, description="Run, checkpoint or Hugging Face folder whose weights to start from; unset: random ones."
    )
    shuffle_window_rows: int = Field(
        1 << 20, ge=1, description="Rows are permuted within windows of this many (part of the order)."
    )
    mixture: list[MixedDataset] = Field(
        [], description="Data sets to train on, mixed; none: data.dataset, whose held-out rows are evaluated anyway."
    )
    stage_in: str | None = Field(
        None,
        description="Folder on a node's own disk, $VARIABLES allowed, to copy shards to before they are read; "
        "unset: the temporary folder for a data set at a URL, and others are read in place.",
    )
    stage_gib: float = Field(50.0, gt=0.0, description="Most GiB of copied shards on a node.")
    profile_steps: list[Annotated[int, Field(ge=1)]] = Field(
        [], description="Steps of which rank 0 writes a torch.profiler trace to <run>/profile."
    )
    log_every_steps: int = Field(10, ge=1, description="Steps between console lines; metrics.jsonl has every step.")
    evaluate_every_steps: int = Field(
        0, ge=0, description="Steps between evaluations on the held-out split; 0: at the end only."
    )
    evaluate_rows: int = Field(10_000, ge=1, description="Most held-out rows an evaluation reads, from the first on.")
    max_skipped_steps: int = Field(
        10,
        ge=1,
        description="Skipped steps in a row (a gradient that is not finite, a spike) after which training goes back "
        "to the newest checkpoint and passes over their rows. A falling loss scale of fp16 does not count.",
    )
    skip_loss_spikes: bool = Field(
        False, description="Skip a step whose loss is 6 deviations above the last steps' mean; else it is only logged."
    )

    def stage_on(self, ranks: int) -> int:
        """The ZeRO stage that so many ranks train at: one has nothing to share out, and stage 0 is the faster.

        fp16 and offload are DeepSpeed's, at any other stage.
        """
        is_deepspeeds = self.precision == "fp16" or self.offload_optimizer
        return self.zero_stage if ranks > 1 or is_deepspeeds else 0

    @model_validator(mode="after")
    def _precision_fits_stage(self) -> TrainConfig:
        if self.precision == "fp16" and self.zero_stage == 0:
            raise ValueError(
                'precision "fp16" needs zero_stage 1 or above, or take "bf16"; one rank may have stage 1 too'
            )
        return self

    @model_validator(mode="after")
    def _offload_fits_stage(self) -> TrainConfig:
        if self.offload_optimizer and self.zero_stage == 0:
            raise ValueError("offload_optimizer needs zero_stage 1 or above; one rank may have stage 1 too")
        return self

    @model_validator(mode="after")
    def _batch_grows(self) -> TrainConfig:
        if self.batch_growth_steps and self.first_global_batch_size > self.global_batch_size:
            raise ValueError(
                f"first_global_batch_size {self.first_global_batch_size} is above global_batch_size "
                f"{self.global_batch_size}; lower the former"
            )
        return self


class CheckpointConfig(Section):
    """When to save, and what to keep."""

    every_steps: int = Field(1_000, ge=1, description="Steps between checkpoints; the last step is always saved.")
    keep: int = Field(3, ge=1, description="Newest checkpoints to keep.")
    keep_every_steps: int = Field(0, ge=0, description="Keep checkpoints of multiples of this for good; 0: of none.")


class ClusterConfig(Section):
    """Where a run's ranks live, and what a scheduler is asked for."""

    nodes: int = Field(1, ge=1, le=100_000, description="Nodes of the job.")
    ranks_per_node: int = Field(0, ge=0, description="Ranks a node; 0: one a GPU, or one on a machine without GPUs.")
    gpus_per_node: int = Field(0, ge=0, le=1024, description="GPUs a node to ask Slurm for; this machine's are found.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: CUDA where there is a GPU.")
    cpu_threads: int = Field(
        0, ge=0, description="Threads a rank, and cores to ask Slurm for; 0: this machine's, divided among its ranks."
    )
    collective_timeout_s: int = Field(
        600, ge=5, description="Seconds a collective may wait for another rank, and a rank may make no headway."
    )
    partition: SlurmName | None = Field(None, description="Slurm: partition, or several with commas.")
    account: SlurmName | None = Field(None, description="Slurm: account to charge.")
    qos: SlurmName | None = Field(None, description="Slurm: quality of service.")
    constraint: SlurmExpression | None = Field(None, description="Slurm: features that nodes need, e.g. h100&ib.")
    exclude: SlurmExpression | None = Field(None, description="Slurm: nodes to leave out, e.g. gpu[07,12].")
    time_limit_min: int = Field(1440, ge=1, description="Slurm: minutes a start may take; the job requeues itself.")
    stop_before_limit_s: int = Field(
        300, ge=30, description="Slurm: seconds before the limit at which ranks save and stop; Slurm may be 60 early."
    )
    memory_gib: int = Field(0, ge=0, description="Slurm: memory a node; 0: what the partition gives.")
    max_restarts: int = Field(
        3, ge=0, description="Restarts in a row that may bring no new checkpoint, before the job gives up."
    )
    sbatch_options: list[SlurmOption] = Field(
        [], description="Slurm: more #SBATCH options, each --name or --name=value."
    )
    srun_options: list[SlurmOption] = Field(
        [], description="Slurm: more options of srun, e.g. --container-image=bert.sqsh for pyxis."
    )
    setup: list[OneLine] = Field(
        [], description="Shell lines that the job's script runs before the ranks, e.g. module load cuda."
    )
    container: list[OneLine] = Field(
        [], description='Command that starts a rank in a container, e.g. ["apptainer", "exec", "--nv", "bert.sif"].'
    )
    hosts: list[HostName] = Field(
        [], description="MPI: nodes by name; empty: those of the allocation that mpirun finds, or this machine."
    )
    python: OneLine | None = Field(None, description="Python on the nodes; unset: the one that submits.")
    environment: list[VariableName] = Field(
        [], description="Variables of the submitting shell that a job may see, beside PATH, HOME, LANG and the like."
    )
    private: bool = Field(True, description="A job's files are for their owner alone (umask 077).")

    @model_validator(mode="after")
    def _limit_leaves_time(self) -> ClusterConfig:
        if self.stop_before_limit_s >= 60 * self.time_limit_min:
            raise ValueError(
                f"cluster.stop_before_limit_s {self.stop_before_limit_s} is not below cluster.time_limit_min, "
                f"which is {60 * self.time_limit_min} s; lower the former"
            )
        return self

    @field_validator("sbatch_options")
    @classmethod
    def _options_are_not_ours(cls, options: list[str]) -> list[str]:
        for option in options:
            name = option.removeprefix("--").partition("=")[0]
            if any(ours.startswith(name) for ours in OWN_SBATCH_OPTIONS):  # Slurm takes any unambiguous beginning
                raise ValueError(f"--{name} is set by bertrain itself; remove it")
        return options


class Recipe(Section):
    """All of it: raw text to a pretrained model."""

    name: str = Field(
        "bert", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description="The run's name: letters, digits, . _ -"
    )
    runs: str = Field("runs", description="Folder of all runs; this one lies in <runs>/<name>.")
    data: DataConfig = Field(DataConfig(), description="The data set.")
    model: ModelConfig = Field(ModelConfig(), description="BERT's shape.")
    optimizer: OptimizerConfig = Field(OptimizerConfig(), description="The optimizer and its schedule.")
    train: TrainConfig = Field(TrainConfig(), description="The training loop.")
    checkpoint: CheckpointConfig = Field(CheckpointConfig(), description="Checkpoints.")
    cluster: ClusterConfig = Field(ClusterConfig(), description="Ranks, devices and the scheduler.")

    @model_validator(mode="after")
    def _sections_fit(self) -> Recipe:
        if self.data.max_seq_length > self.model.max_position_embeddings:
            raise ValueError(
                f"data.max_seq_length {self.data.max_seq_length} is above model.max_position_embeddings "
                f"{self.model.max_position_embeddings}; raise the latter or lower the former"
            )
        if self.train.offload_optimizer and self.optimizer.name == "lamb":
            raise ValueError(
                'train.offload_optimizer is for optimizer.name "adamw": LAMB takes norms over ranks, which meet on GPUs'
            )
        if self.optimizer.decay == "constant":
            if self.optimizer.decay_steps:
                raise ValueError('optimizer.decay_steps is for a decay, but optimizer.decay is "constant"')
        elif self.optimizer.warmup_steps >= self.train.steps:
            raise ValueError(
                f"optimizer.warmup_steps {self.optimizer.warmup_steps} is not below train.steps {self.train.steps}; "
                "lower the former"
            )
        elif self.optimizer.warmup_steps + self.optimizer.decay_steps > self.train.steps:
            raise ValueError(
                f"optimizer.warmup_steps {self.optimizer.warmup_steps} and optimizer.decay_steps "
                f"{self.optimizer.decay_steps} are together above train.steps {self.train.steps}; lower one of them"
            )
        return self


def digest_of(fields: dict[str, Any]) -> str:
    """SHA-256, hexadecimal, of plain JSON values in canonical form."""
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _byte_fields(section: Section) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        extra = field.json_schema_extra
        if isinstance(extra, dict) and extra.get("determines_bytes") is False:
            continue
        value = getattr(section, name)
        fields[name] = _byte_fields(value) if isinstance(value, Section) else value
    return fields
