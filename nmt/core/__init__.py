"""Infrastructure for all other packages: files, run folders, console output and processes.

These modules are independent of translation. Of nmt, they import only `nmt.errors`.
"""
