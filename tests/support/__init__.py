"""Shared code of the tests: text, models, run folders, servers and processes.

Subpackages: `data` builds and damages text. `models` and `training` build tiny models and reference
implementations. `evaluation` builds the inputs of reports. `promises` runs and disturbs training
for the guarantees of docs/promises.md.
"""
