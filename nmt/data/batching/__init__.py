"""From a tokenized corpus to padded tensors: order of the pairs, batch shapes, micro-batches.

An epoch is a pure function of the corpus, the settings and the seed, so that a resumed run
continues at the same batch.
"""
