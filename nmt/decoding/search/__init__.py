"""Search for hypotheses with a PyTorch model, on token ids: beam search and forced decoding.

Logits processors, candidate selectors and output vocabularies decide which tokens may follow.
"""
