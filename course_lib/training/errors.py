"""The error of a training run that cannot be made as asked."""


class SettingsError(ValueError):
    """Settings that do not fit the data, the processes or the run to be resumed."""
