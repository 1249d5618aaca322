"""From a corpus to the batches of each epoch, as a pure function of the seed."""
