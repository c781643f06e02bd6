"""The tasks a process knows."""

from collections.abc import Iterable, Iterator
from importlib import __file__ as _importlib_file
from importlib import import_module
from traceback import extract_tb, format_exception_only, format_list

from milepost.errors import TaskDefinitionError
from milepost.tasks.definition import TaskDefinition


class Registry:
    """Task definitions by type name."""

    def __init__(self) -> None:
        self._by_type: dict[str, TaskDefinition] = {}

    def add(self, definition: TaskDefinition) -> None:
        """Add a definition. Raises TaskDefinitionError if another function has that name already."""
        known = self._by_type.get(definition.type)
        # Reloading a module in development defines the same function again: that replaces the old one.
        if known is not None and known.origin != definition.origin:
            raise TaskDefinitionError(
                f"Two tasks are named {definition.type!r}: {known.origin} and {definition.origin}. Rename one."
            )
        self._by_type[definition.type] = definition

    def get(self, type_: str) -> TaskDefinition | None:
        """Return the definition of a type; None if this process does not know it."""
        return self._by_type.get(type_)

    def __iter__(self) -> Iterator[TaskDefinition]:
        return iter(self._by_type.values())

    def __len__(self) -> int:
        return len(self._by_type)


registry = Registry()
"""Where `@task` puts what it defines, unless told otherwise."""


def load(modules: Iterable[str]) -> Registry:
    """Import modules for the tasks they define and return the registry.

    Raises TaskDefinitionError, which says which cannot be imported, and why.
    """
    for name in modules:
        if name.endswith(".py"):
            module = name.removesuffix(".py").removeprefix("./").replace("/", ".")
            raise TaskDefinitionError(
                f"Tasks come from modules, and {name!r} is a file. Write {module}, and start in the folder it is below."
            )
        try:
            import_module(name)
        except TaskDefinitionError:
            raise
        except ModuleNotFoundError as error:
            raise TaskDefinitionError(
                f"There is no module {error.name!r}, needed for tasks from {name!r}. "
                "Is its package installed, or the folder you started in the right one?"
            ) from error
        except (Exception, SystemExit) as error:
            raise TaskDefinitionError(
                f"The module {name!r} cannot be imported for its tasks. Mend it and start again.\n{_told(error)}"
            ) from error
    return registry


def _told(error: BaseException) -> str:
    """Return an error as Python would tell it, from the module's first line on: how it got there is our affair."""
    frames = [
        frame
        for frame in extract_tb(error.__traceback__)
        if frame.filename not in {__file__, _importlib_file} and not frame.filename.startswith("<frozen importlib")
    ]
    return "".join([*format_list(frames), *format_exception_only(error)]).rstrip()
