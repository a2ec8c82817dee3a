"""The joint loss and the trainer that applies it: batches, metrics, a checkpoint's manifest."""
