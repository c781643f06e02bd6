"""What can be said of the chart without helm."""

import json
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import SecretStr

from milepost.runtime.settings import Settings
from tests.chart.rendered import CHART, VALUES

SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
DEFAULTS: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
REFUSED = set(SCHEMA["definitions"]["settings"]["propertyNames"]["not"]["enum"])


def _over(below: Any, above: Any) -> Any:
    """Lay values over others as helm does: maps are merged, null takes away."""
    if isinstance(below, dict) and isinstance(above, dict):
        merged = {name: _over(below.get(name), value) for name, value in above.items()}
        return {name: value for name, value in (below | merged).items() if value is not None}
    return above


@pytest.mark.parametrize("values", sorted(VALUES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_values_of_these_tests_fit_the_schema(values: Any) -> None:
    jsonschema.validate(_over(DEFAULTS, yaml.safe_load(values.read_text())), SCHEMA)


def test_no_secret_setting_can_be_written_into_values() -> None:
    secret = {name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
    assert SecretStr.__name__ in str(Settings.model_fields["database_url"].annotation)
    assert secret
    assert secret <= REFUSED, f"values.schema.json has to refuse {sorted(secret - REFUSED)}"


def test_what_is_refused_as_made_by_the_chart_is_a_setting() -> None:
    assert Settings.model_fields.keys() >= REFUSED


def test_every_part_of_the_values_is_described() -> None:
    """A value that the schema does not know is a misspelt one, so it has to know all there are."""
    assert SCHEMA["properties"].keys() - {"global"} == DEFAULTS.keys()
    pool = SCHEMA["definitions"]["pool"]["properties"]
    assert pool.keys() == DEFAULTS["workerDefaults"].keys()
    assert SCHEMA["definitions"]["scaling"]["properties"].keys() == DEFAULTS["workerDefaults"]["scaling"].keys()
