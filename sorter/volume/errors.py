"""Why frames make no volume."""

from __future__ import annotations


class VolumeError(Exception):
    """Frames make no regular volume, or pixels cannot be read; says where, without patient data."""
