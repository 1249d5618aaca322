"""`nmt check`: find bad lines, duplicates, leaks and misaligned blocks in parallel text.

`scan` checks a text set: `chunk_scan` looks at chunks of sentence pairs in parallel, with the
checks of `pair_checks` and the index of `near_duplicates`. `kinds` describes every kind of finding,
`findings` collects the lines of each kind, and `report` prints them.
"""
