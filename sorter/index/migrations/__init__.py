"""Migrations of the index, run by :mod:`sorter.index.engine`."""
