"""Fuzz nmt with hypothesis: command lines, configs, run folders, text, and requests of a server.

`python -m tests.support.promises.fuzz --minutes 20` runs for minutes, `test_fuzz.py` a small part.
For any input, a command ends within TIME_LIMIT seconds with an exit code of nmt/errors.py and no
traceback, writes nothing outside its folder, and translates every input line. Any request gets its
own answer, or an error as JSON.
"""
