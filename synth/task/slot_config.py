"""`slots:` and `kept:` of task.yml: where values come from, and how the student is told them."""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Day = datetime.datetime | datetime.date
Name = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]

COUNT = 100  # values that a generator is asked for, unless told


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def _day(value: Any) -> Any:
    """A text as YAML would read it without quotes."""
    if isinstance(value, str):
        for read in (datetime.date.fromisoformat, datetime.datetime.fromisoformat):
            try:
                return read(value)
            except ValueError:
                continue
    if isinstance(value, datetime.date):
        return value
    raise ValueError("not a day (2024-01-31) or a time (2024-01-31T15:00:00)")


class Now(_Part):
    """A moment between two, drawn evenly."""

    begin: Annotated[Day, BeforeValidator(_day)] = Field(
        alias="from", description="the first day or time"
    )
    end: Annotated[Day, BeforeValidator(_day)] = Field(
        alias="to", description="the last; of a day its whole"
    )
    format: str = Field(
        default="%Y-%m-%d", min_length=1, description="as Python's strftime takes it"
    )

    @model_validator(mode="after")
    def _in_order(self) -> Now:
        begin, end = self.span
        if (begin.tzinfo is None) != (end.tzinfo is None):
            raise ValueError("`from` and `to` are not both with a time zone")
        if begin > end:
            raise ValueError("`from` is later than `to`")
        return self

    @property
    def span(self) -> tuple[datetime.datetime, datetime.datetime]:
        """The first moment and the last one."""
        day_end = datetime.time(23, 59, 59)
        return _moment(self.begin, datetime.time()), _moment(self.end, day_end)


class Number(_Part):
    """A number between two, drawn evenly: a whole one where both are."""

    begin: int | float = Field(alias="from", description="the least")
    end: int | float = Field(alias="to", description="the largest")
    format: str = Field(
        default="{}", description="as Python's str.format takes it: `{:,.2f}` for 1,234.50"
    )

    @model_validator(mode="after")
    def _fits(self) -> Number:
        if self.begin > self.end:
            raise ValueError("`from` is more than `to`")
        try:
            same = self.format.format(self.begin) == self.format
        except (ValueError, LookupError, AttributeError, TypeError) as error:
            raise ValueError(f"`format` can't format a number: {error}") from None
        if same:
            raise ValueError("`format` has no place for the number: write {} in it")
        return self


class Source(_Part):
    """Where a slot's values come from: one of these."""

    values: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="a list, also without the key"
    )
    file: str | None = Field(
        default=None,
        min_length=1,
        description="a .csv, .tsv, .json, .jsonl or .txt beside task.yml; the slots of one file "
        "take the same line, so that they fit together",
    )
    column: str | None = Field(
        default=None, min_length=1, description="with `file`: its column or key (not of a .txt)"
    )
    python: Name | None = Field(
        default=None,
        description="`module:function`, called with a `random.Random` and the input; gives a text",
    )
    generator: str | None = Field(
        default=None, min_length=1, description="what the generator is asked for a value"
    )
    count: int | None = Field(
        default=None, ge=1, description="with `generator`: how many distinct values; default: 100"
    )
    now: Now | None = Field(default=None, description="a day or time: `{from, to, format}`")
    number: Number | None = Field(default=None, description="a number: `{from, to, format}`")

    @model_validator(mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return {"values": value}
        asks = isinstance(value, dict) and value.get("generator") is not None
        return {**value, "count": COUNT} if asks and value.get("count") is None else value

    @model_validator(mode="after")
    def _one_kind(self) -> Source:
        kinds = ("values", "file", "python", "generator", "now", "number")
        if sum(getattr(self, kind) is not None for kind in kinds) != 1:
            raise ValueError(f"give one of {', '.join(kinds)}")
        text_file = self.file is not None and self.file.lower().endswith(".txt")
        if (self.column is not None) != (self.file is not None and not text_file):
            raise ValueError("`column` goes with a `file` of columns or keys, and a .txt has none")
        if self.count is not None and self.generator is None:
            raise ValueError("`count` goes with `generator`")
        return self


class Kept(_Part):
    """How the student is told the values."""

    text: str = Field(
        default="",
        description="with each slot's mark, `{{ name }}`, in it; default: a line `name: value` for "
        "each",
    )
    role: Literal["system", "user"] | None = Field(
        default=None,
        description="system: a message before the request; user: before the request, in one "
        "message with it; default: `prompt_role`",
    )


def _moment(day: Day, time: datetime.time) -> datetime.datetime:
    if isinstance(day, datetime.datetime):
        return day
    return datetime.datetime.combine(day, time)
