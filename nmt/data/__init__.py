"""From parallel text to batches. The subpackages follow the pipeline: text, tokenizer, corpus,
batching.

`datasets` downloads public parallel text.
"""
