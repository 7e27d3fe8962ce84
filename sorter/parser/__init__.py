"""Parser: the bytes of one file become an Instance."""
