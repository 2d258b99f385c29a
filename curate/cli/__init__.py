"""The `kdcurate` command: parses, calls one library function, prints."""
