"""What a model attends to: explanations, word alignments, heat maps, pages."""
