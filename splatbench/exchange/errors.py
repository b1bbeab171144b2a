"""The one error of this package that a reader of files has to expect."""


class ExchangeError(ValueError):
    """A file of named arrays that cannot be read, does not say what it holds, or does not hold Gaussians."""
