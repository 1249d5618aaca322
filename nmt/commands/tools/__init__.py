"""Commands that export models and describe the installation."""
