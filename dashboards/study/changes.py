"""What a page may change of a study: the same steps as `metsweep stop`, `retry` and `extend`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from sweep.cli.extending import add
from sweep.studies.opened import OpenedStudy
from sweep.studies.steps import after_stop, retry_trials, stop_trials
from sweep.text import count_text
from trainers.exceptions import ConfigError

Form = Mapping[str, list[str]]
MOST_SEEDS = 10_000


def stop(opened: OpenedStudy, form: Form) -> Iterable[str]:
    """Stop the trials of the form's `trial`."""
    names, alive = stop_trials(opened, form.get("trial", []))
    yield f"Asked the launch to stop {_trials(names)}." if alive else f"Stopped {_trials(names)}."
    yield after_stop(alive)


def retry(opened: OpenedStudy, form: Form) -> Iterable[str]:
    """Run the trials of the form's `trial` again."""
    names, alive = retry_trials(opened, form.get("trial", []), failed=False)
    yield f"Asked the launch to run {_trials(names)} again." if alive else f"{_trials(names)} will run again."
    if not alive:
        yield f"No launch is running now. Next: metsweep launch {opened.given}"


def extend(opened: OpenedStudy, form: Form) -> Iterable[str]:
    """Add seeds, cells to draw or arms, by the form's `seeds`, `trials` and `arms`."""
    arms = [arm for text in form.get("arms", []) for arm in text.split()]
    return add(opened, seeds=_number(form, "seeds", MOST_SEEDS), trials=_number(form, "trials"), arms=arms)


def _number(form: Form, name: str, most: int = 10**9) -> int | None:
    """A whole number of the form; None if the field is empty."""
    text = "".join(form.get(name, [])).strip()
    if not text:
        return None
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 12 else 0
    if not 1 <= number <= most:
        raise ConfigError(f"{name} is {text!r}; allowed: a whole number from 1 to {most:,}.")
    return number


def _trials(names: tuple[str, ...], most: int = 5) -> str:
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return f"{count_text(len(names), 'trial')} ({', '.join(names[:most])}{more})"


CHANGES: Mapping[str, Callable[[OpenedStudy, Form], Iterable[str]]] = {"stop": stop, "retry": retry, "extend": extend}
"""Name in the address -> what a form there changes."""
