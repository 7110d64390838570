"""Durations as the user writes them: `90s`, `10m`, `1.5h`."""

import re

from nas_sv2.errors import ConfigError

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(field: str, text: str) -> float:
    """The duration in seconds.

    Raises:
        ConfigError: No number above 0 with one of the units s, m, h; names `field`.
    """
    form = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if form is None or float(form[1]) == 0:
        raise ConfigError(field, text, "must be a number with a unit: 90s, 10m, 2h")
    return float(form[1]) * _SECONDS[form[2]]
