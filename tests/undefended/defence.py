"""What a defence is, and which tests have to miss it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

API: Final = "services/api/src/milepost_api"
NOTIFIER: Final = "services/notifier/src/milepost_notifier"
LIBRARY: Final = "src/milepost"
SQL: Final = "src/milepost/store/sql"


@dataclass(frozen=True, slots=True)
class Defence:
    """Taken away: in `file` the `nth` `code`, or the only one, becomes `instead`. `tests` are what pytest is given."""

    name: str
    file: str
    code: str
    instead: str
    tests: tuple[str, ...]
    nth: int | None = None

    def taken_from(self, text: str) -> str:
        """Return the text of its file without it. Raises ValueError if it does not stand there as it is written."""
        parts = text.split(self.code)
        nth = self.nth
        if nth is None:
            if len(parts) != 2:
                raise ValueError(f"{self.name}: this is in {self.file} {len(parts) - 1} times, not once:\n{self.code}")
            nth = 0
        before, after = self.code.join(parts[: nth + 1]), self.code.join(parts[nth + 1 :])
        return before + self.instead + after


def named(*names: str, where: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return pytest's arguments for tests with one of these in their names: `where`, or in the files that have them."""
    return (*(where or _files_with(names)), "-k", " or ".join(names))


def _files_with(names: tuple[str, ...]) -> Iterator[str]:
    for file in sorted(Path("tests").rglob("test_*.py")):
        text = file.read_text(encoding="utf-8")
        if any(f"def {name}" in text for name in names):
            yield str(file)
