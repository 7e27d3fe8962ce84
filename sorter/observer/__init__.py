"""Observer: which files are there, and which are ready."""
