"""Archives are unpacked and other formats converted, into staging."""
