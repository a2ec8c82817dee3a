"""The tools of the task, played: weather that follows from the city's name, and timers."""

import zlib

import synth

SKIES = ("sun", "clouds", "rain", "snow", "fog")


class Kitchen:
    """Answers calls of get_weather and set_timer; each row has one of its own."""

    def __init__(self, row: synth.Row) -> None:
        self.timers: list[str] = []

    def step(self, name: str, arguments: dict) -> dict:
        """A tool's result, which follows from the calls alone: it is played again on resume."""
        if name == "get_weather":
            number = zlib.crc32(arguments["city"].casefold().encode())
            return {"celsius": number % 41 - 5, "sky": SKIES[number % len(SKIES)]}
        if len(self.timers) > 3:
            raise synth.ToolError("no more than four timers at once")
        self.timers.append(arguments["label"])
        return {"started": True}
