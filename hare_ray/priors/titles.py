"""What an LLM is asked for a topic's title: topic_title.yaml.

topic_title() -> the text, with slots {words} and {titles}
"""

from __future__ import annotations

from dataclasses import dataclass

from hare_ray.priors.reading import read

SLOTS = ("{words}", "{titles}")


@dataclass(frozen=True)
class TopicTitle:
    """The prior as it stands in the file."""

    text: str

    def __post_init__(self) -> None:
        """Refuse a text that does not show the topic."""
        missing = [slot for slot in SLOTS if slot not in self.text]
        if missing:
            raise ValueError(f"given a text without {' and '.join(missing)}, expected both where the topic is shown")


def topic_title() -> str:
    """The text of the prompt, with its slots."""
    return read("topic_title", TopicTitle).text
