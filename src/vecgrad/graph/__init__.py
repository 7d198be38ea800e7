"""From a model to values: the eager emitter computes at once, the recording emitter writes a graph down."""
