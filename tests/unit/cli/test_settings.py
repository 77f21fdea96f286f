from typing import Any

import pytest

from arcgate.cli.settings import all_settings, tables, to_toml
from arcgate.core.configuration import Configuration


def test_every_table_of_the_model_is_there() -> None:
    names = [table.name for table in tables()]
    assert names[0] == ""
    assert set(names[1:]) == {name for name in Configuration.model_fields if name != "state_dir"}
    assert all(table.description for table in tables()[1:])


def test_key_and_variable_follow_the_path() -> None:
    setting = next(one for one in all_settings() if one.key == "gateway.workers")
    assert (setting.variable, setting.kind, setting.default) == ("ARCGATE_GATEWAY__WORKERS", "number", 1)
    assert setting.value_in(Configuration()) == 1


def test_kinds_are_words() -> None:
    kinds = {setting.key: setting.kind for setting in all_settings()}
    assert kinds["state_dir"] == "path"
    assert kinds["tls.key_file"] == "path"
    assert kinds["cloud.regions"] == "list of texts"
    assert kinds["gateway.open_networks"] == "list of networks"
    assert kinds["gateway.hosts"] == "table of texts"
    assert kinds["log.level"] == "one of debug, info, warning, error"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, '""'),
        (True, "true"),
        (10.0, "10"),
        (0.5, "0.5"),
        ('a"b\\c\n', '"a\\"b\\\\c\\u000a"'),
        (("a", "b"), '["a", "b"]'),
        ({"a.b": "c"}, '{"a.b" = "c"}'),
    ],
)
def test_values_are_written_as_toml(value: Any, text: str) -> None:
    assert to_toml(value) == text
