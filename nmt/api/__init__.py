"""The Python interface: `nmt.load` and the model that it returns."""
