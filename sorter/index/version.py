"""The versions of the schema."""

VERSION = "0002"  # the newest migration
KNOWN_VERSIONS = ("0001", "0002")
