# The door of pretrain.engine.meeting: what other packages and rooms import from it.

from .rendezvous import leave as leave, meet as meet
