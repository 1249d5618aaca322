"""Infrastructure for all other packages: files, run folders, logging and processes.

These modules are independent of translation. Of nmt, they import only `nmt.errors`.
"""
