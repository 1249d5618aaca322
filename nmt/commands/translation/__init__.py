"""Commands that translate, score and rerank."""
