"""The error of a measurement that cannot be made as asked."""


class MetricsError(ValueError):
    """Images, features or options that cannot be measured; the message says why."""
