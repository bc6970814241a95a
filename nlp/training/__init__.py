"""Training of the torch models: from texts and pictures to a model folder."""
