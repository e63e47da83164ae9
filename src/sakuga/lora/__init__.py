"""Adapters: read from a file, stacked, and applied to any tree of torch modules for as long as a ``with`` block lasts.

Imports torch, ``tensors`` and layer 0 only. It never sees a Job, a diffusers class or a picture.
"""
