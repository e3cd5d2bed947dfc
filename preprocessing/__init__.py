"""Raw text to a data set of masked sentence pairs (Apache Beam). Never imports torch."""
