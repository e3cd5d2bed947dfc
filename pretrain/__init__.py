"""A data set to a pretrained BERT (DeepSpeed ZeRO). Never imports Beam."""
