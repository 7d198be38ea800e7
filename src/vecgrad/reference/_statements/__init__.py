"""The paper's statements, one function each; ``vecgrad.reference.equations`` is their public face."""
