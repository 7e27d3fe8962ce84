"""Organizer: an Instance gets its place in the tree, crash-safe."""
