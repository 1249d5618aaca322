"""Find bad lines, duplicates, leaks and misaligned blocks in parallel text."""
