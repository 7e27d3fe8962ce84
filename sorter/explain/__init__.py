"""Why one file gets, or got, the place and the outcome that it has; nothing is stored."""

from sorter.explain.explain import explain
from sorter.explain.explained import Explained

__all__ = ["Explained", "explain"]
