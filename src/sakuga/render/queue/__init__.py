"""The queue: jobs that wait in one SQLite file until a process renders them, one process or several at once.

``store.py`` is the file, ``serve.py`` takes jobs from it and has them drawn, ``lease.py`` says who is still at work.
"""
