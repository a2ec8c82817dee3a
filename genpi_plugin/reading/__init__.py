"""How a model is called: packed, padded, from a cached prefix, with the logits that are needed."""
