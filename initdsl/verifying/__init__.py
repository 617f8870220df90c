"""Whether a model or a checkpoint is what its rules say."""
