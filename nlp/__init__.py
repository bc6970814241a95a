"""Named entity recognition: data, the tagger that ships, training and scores."""
