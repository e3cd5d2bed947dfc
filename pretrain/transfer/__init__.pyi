# The door of pretrain.transfer: what other packages and rooms import from it.

from .feature_files import count_lines as count_lines, read_texts as read_texts, write_features as write_features
from .features import Features as Features, Mix as Mix, Pooling as Pooling
from .filling import Filler as Filler, Filling as Filling
from .finetuning import (
    Finetuned as Finetuned,
    TaskItems as TaskItems,
    check_settings as check_settings,
    decode as decode,
    device_of as device_of,
)
from .labelled import (
    FEW_TEST_RECORDS as FEW_TEST_RECORDS,
    SECOND_TEST as SECOND_TEST,
    LabelSet as LabelSet,
    Records as Records,
    Splits as Splits,
    contradictions as contradictions,
    read_records as read_records,
    read_splits as read_splits,
    shared_texts as shared_texts,
)
from .making import make_task as make_task, restore_task as restore_task
from .model_card import write_task_card as write_task_card
from .pictures import draw_learning_curve as draw_learning_curve, draw_senses as draw_senses, draw_worth as draw_worth
from .probing import Probed as Probed
from .report import (
    board as board,
    defined as defined,
    plain as plain,
    prediction_lines as prediction_lines,
    read_model as read_model,
    sizes as sizes,
    write_answers as write_answers,
    write_model as write_model,
)
from .senses import (
    SHIPPED as SHIPPED,
    Separation as Separation,
    read_contexts as read_contexts,
    separation as separation,
    word_vectors as word_vectors,
)
from .task_report import (
    PRETRAINED as PRETRAINED,
    RANDOM as RANDOM,
    STARTS as STARTS,
    Worth as Worth,
    measure_worth as measure_worth,
)
from .tasks import (
    TokenRow as TokenRow,
    about_unknown as about_unknown,
    batch_of as batch_of,
    count_unknown as count_unknown,
)
from .trials import (
    SECOND as SECOND,
    Spread as Spread,
    StartingPoint as StartingPoint,
    Trial as Trial,
    pretrained_start as pretrained_start,
    reloading_start as reloading_start,
    spreads as spreads,
    try_seed as try_seed,
)
