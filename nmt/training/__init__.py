"""The training loop and its parts. Never imports `nmt.decoding`: validation is a callable."""
