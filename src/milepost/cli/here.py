"""The settings for commands that look at a running stack: MILEPOST_*, else what `milepost dev` left in the home."""

from milepost.client.address import read_key, running_environment
from milepost.runtime.settings import Settings


def settings_here() -> Settings:
    """Return the settings; those that are not set come from the stack that runs in MILEPOST_HOME, if one does."""
    settings = Settings.load()
    found = {
        name.removeprefix("MILEPOST_").lower(): value for name, value in running_environment(settings.home).items()
    }
    if settings.api_key is None and "api_key" not in found and (key := read_key(settings.home)) is not None:
        found["api_key"] = key
    missing = {
        name: value
        for name, value in found.items()
        if name in Settings.model_fields and name not in settings.model_fields_set and name != "home"
    }
    return Settings.load(**missing) if missing else settings
