"""Limits on requests: API keys, request rates and body sizes."""
