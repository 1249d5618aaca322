"""Engines that search and score token ids: PyTorch, and CTranslate2 for exported models."""
