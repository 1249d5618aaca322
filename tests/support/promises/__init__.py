"""Runs, faults and jobs for the guarantees of docs/promises.md."""
