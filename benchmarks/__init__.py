"""Benchmarks: programs that print ratios against a named peer or limit."""
