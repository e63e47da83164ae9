"""Tools on adapter files: merge, resize, convert and compare them, extract them from checkpoints, bake them into one.

Each works on one module at a time and writes its output whole or not at all. They choose no weights and find no files:
they get paths and numbers.
"""
