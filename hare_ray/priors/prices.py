"""What accelerators, cores and paid models cost, as prices.yaml says it.

    load_prices() -> Prices

Only the report reads it, when it is made: no stage holds a price, so an edit makes nothing anew.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hare_ray.priors.reading import check_different, read


@dataclass(frozen=True)
class Accelerator:
    """The price of one kind of device."""

    name: str
    """Searched in the device's own name."""
    per_hour: float

    def __post_init__(self) -> None:
        """Refuse a price below nothing."""
        if self.per_hour < 0:
            raise ValueError(f"per_hour: given {self.per_hour}, expected 0 or more")


@dataclass(frozen=True)
class TokenPrice:
    """The prices of a model that somebody else serves."""

    pattern: str
    """A regular expression on the model's name."""
    input: float
    """Per million tokens of prompts."""
    output: float
    """Per million tokens written."""

    def __post_init__(self) -> None:
        """Refuse what is no pattern and no price."""
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise ValueError(
                f"pattern: given {self.pattern!r}, which is no regular expression ({error}); write a part of the "
                "model's name, and put a backslash before a sign such as ( or +"
            ) from error
        for name in ("input", "output"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: given {getattr(self, name)}, expected 0 or more")


@dataclass(frozen=True)
class Prices:
    """All prices; prices.yaml explains the fields."""

    currency: str
    accelerators: tuple[Accelerator, ...]
    accelerator: str
    core_per_hour: float | None
    endpoints: tuple[TokenPrice, ...]

    def __post_init__(self) -> None:
        """Refuse a device that has no price, or two."""
        names = [one.name for one in self.accelerators]
        check_different(names, "accelerators")
        if self.accelerator not in names:
            raise ValueError(f"accelerator: given {self.accelerator!r}, expected one of {', '.join(names) or 'some'}")
        if self.core_per_hour is not None and self.core_per_hour < 0:
            raise ValueError(f"core_per_hour: given {self.core_per_hour}, expected 0 or more, or null")

    def of_device(self, device: str | None) -> Accelerator:
        """The price of a device by its name, or of the usual one where the name is unknown."""
        told = (device or "").lower()
        usual = next(one for one in self.accelerators if one.name == self.accelerator)
        return next((one for one in self.accelerators if told and one.name.lower() in told), usual)

    def of_model(self, model: str) -> TokenPrice | None:
        """The prices of a model by its name; None where nobody gave any."""
        found = (one for one in self.endpoints if re.search(one.pattern, model, re.IGNORECASE))
        return next(found, None)


def load_prices() -> Prices:
    """The prices of prices.yaml."""
    return read("prices", Prices)
