"""The one error of this package that a reader of files has to expect."""


class BitstreamError(ValueError):
    """Bytes that are not a valid file: damaged, cut off, of another format, or beyond the reader's limits."""
