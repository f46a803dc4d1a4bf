"""The errors and the warning of the package: each says what is wrong, where, and the cure."""


class SpikeLFPError(Exception):
    """Base of every error this package raises on purpose."""


class SchemaError(SpikeLFPError):
    """A dataset is not a valid session (see :func:`spikelfp_lab.validate_session`)."""


class DataError(SpikeLFPError):
    """A recording, a file or a stretch of data cannot be used as asked."""


class ConfigError(SpikeLFPError):
    """An option, a preset or a name is not one the package knows."""


class CheckpointError(SpikeLFPError):
    """A saved model is missing, damaged, or does not fit the session it is given."""


class SpikeLFPWarning(UserWarning):
    """Something in the data was handled, and the user should know."""
