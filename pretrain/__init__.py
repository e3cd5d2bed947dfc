"""Pretrain BERT on a data set with DeepSpeed ZeRO. Never imports Beam."""
