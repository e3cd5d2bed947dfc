# The door of pretrain.telemetry: what other packages and rooms import from it.

from .boards import Histograms as Histograms, word_vectors as word_vectors, write_projector as write_projector
from .curves import (
    AXES as AXES,
    LOSS as LOSS,
    Axis as Axis,
    MetricRecords as MetricRecords,
    draw_curves as draw_curves,
    smooth as smooth,
)
from .folding import fold as fold
from .goodput import goodput_share as goodput_share, goodput_text as goodput_text, losses_text as losses_text
from .metrics import (
    COUNTS as COUNTS,
    STEP_LINE as STEP_LINE,
    TAGS as TAGS,
    Evaluation as Evaluation,
    Fault as Fault,
    MetricsLog as MetricsLog,
    StepMetrics as StepMetrics,
    duration as duration,
    evaluation_line as evaluation_line,
    perplexity as perplexity,
)
from .metrics_file import read_metrics as read_metrics, tail_of_metrics as tail_of_metrics
from .predictions import predictions_table as predictions_table
from .profiling import Profiler as Profiler
from .stragglers import Stragglers as Stragglers
from .summary import describe_run as describe_run, dry_run as dry_run
from .throughput import Throughput as Throughput
