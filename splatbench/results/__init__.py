"""Records as files: what is checked before they are published, how files are merged, which rows are of older code, and
the formats that other programs read."""
