"""Naming tables: what one and the same weight is called in the layouts that files have. Data and pure functions."""
