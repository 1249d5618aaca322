"""Commands that train models and look at runs."""
