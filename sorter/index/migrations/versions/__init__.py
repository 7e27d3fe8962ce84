"""One module a version, oldest first. A published one never changes."""
