# The door of pretrain.transfer.tasks: what other packages and rooms import from it.

from .answering import Answering as Answering
from .choice import Choice as Choice
from .classification import Classification as Classification, Regression as Regression
from .readers import Records as Records
from .rows import TokenRow as TokenRow, batch_of as batch_of
from .splits import Splits as Splits, read_splits as read_splits
from .tagging import Tagging as Tagging
from .task import Answers as Answers, Item as Item, Task as Task, TransferModel as TransferModel, joined as joined
