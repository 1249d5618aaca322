"""Translation for several connections at once: models, language pairs and shared searches."""
