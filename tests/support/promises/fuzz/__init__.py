"""Fuzz the whole command line with hypothesis: command lines, configs, run folders and text.

`python -m tests.support.promises.fuzz --minutes 20` runs for minutes, `test_fuzz.py` a small part.
For any input, a command ends within TIME_LIMIT seconds with an exit code of nmt/errors.py and no
traceback, writes nothing outside its folder, and translates every input line.
"""
