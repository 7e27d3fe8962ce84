"""Instances out of the archive, or from any folder, in the forms that other programs read."""

from sorter.export.export import export
from sorter.export.forms import Form, Options
from sorter.export.outcome import Exported, State

__all__ = ["Exported", "Form", "Options", "State", "export"]
