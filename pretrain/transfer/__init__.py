"""The second stage: what a pretrained encoder is worth, by fine-tuning and by its features."""
