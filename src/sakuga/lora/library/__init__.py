"""The library of adapters: an index of folders that is kept in SQLite, so that ten thousand files can be asked at once.

It is a cache and holds nothing that cannot be read again from the files. Only headers are read; the contents of a file
are hashed when somebody asks for a hash. Nothing is downloaded, moved or deleted.
"""
