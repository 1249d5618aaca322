"""Files, run folders, logging and processes: what every other package needs and nothing of
translation.

Imports nothing of nmt but `nmt.errors`.
"""
