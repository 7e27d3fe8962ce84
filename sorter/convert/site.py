"""What the configuration says of every file that is converted: never whose it is."""

from __future__ import annotations

from typing import Any

from sorter.config import Config
from sorter.convert.keywords import EQUIPMENT
from sorter.errors import ConfigError

# Of a whole installation nothing else is true.
_ALLOWED = ("IssuerOfPatientID", *EQUIPMENT)


def site_facts(config: Config) -> dict[str, Any]:
    """The ``facts`` of the configuration, as they may stand in a dataset.

    Raises
    ------
    ConfigError
        A keyword is none that holds of a whole installation, or its value is not valid.
    """
    if not config.facts:
        return {}
    from sorter.convert.errors import ConversionError  # noqa: PLC0415 - pydicom, only where it is needed
    from sorter.convert.facts import validated  # noqa: PLC0415

    for keyword in config.facts:
        if keyword not in _ALLOWED:
            raise ConfigError(f"facts: {keyword!r} is none of {', '.join(_ALLOWED)}")
    try:
        return validated(config.facts)
    except ConversionError as error:
        raise ConfigError(f"facts: {error}") from None
