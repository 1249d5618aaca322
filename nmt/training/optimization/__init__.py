"""One optimizer step: the loss, micro-batches, gradients of all ranks, the optimizer, the EMA."""
