"""Infrastructure for all other packages: files, run folders, logging and processes.

Modules here know nothing about translation and import nothing of nmt except `nmt.errors`.
"""
