"""The model of arcgate.toml: defaults, bounds, and no unknown keys."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from arcgate.core.configuration import Configuration, Section


def sections(model: type[BaseModel] = Configuration) -> Iterator[type[BaseModel]]:
    yield model
    for field in model.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from sections(field.annotation)


def test_an_empty_file_is_a_complete_configuration() -> None:
    assert Configuration.model_validate({}) == Configuration()


def test_every_setting_is_described_in_a_sentence() -> None:
    for section in sections():
        for name, field in section.model_fields.items():
            if not (isinstance(field.annotation, type) and issubclass(field.annotation, Section)):
                assert field.description, name
                assert field.description.endswith("."), name


def test_a_configuration_does_not_change() -> None:
    with pytest.raises(ValidationError):
        Configuration().gateway.workers = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    "document",
    [
        {"unknown": 1},
        {"gateway": {"idel_timeout": 5}},
        {"cloud": {"domain": "*.example.com"}},
        {"cloud": {"domain": "10.0.0.1"}},
        {"cloud": {"domain": ""}},
        {"cloud": {"public_port": 0}},
        {"cloud": {"public_port": 65536}},
        {"cloud": {"extra_names": ["a b"]}},
        {"listen": {"port": -1}},
        {"listen": {"port": 65536}},
        {"listen": {"port": "443 x"}},
        {"control": {"listen": "localhost"}},
        {"control": {"listen": "localhost:0"}},
        {"control": {"listen": "localhost:99999"}},
        {"control": {"certificate_days": 0}},
        {"control": {"largest_body": 10}},
        {"gateway": {"head_timeout": 0}},
        {"gateway": {"head_timeout": -1}},
        {"gateway": {"head_timeout": 1e9}},
        {"gateway": {"head_timeout": float("nan")}},
        {"gateway": {"head_timeout": float("inf")}},
        {"gateway": {"head_timeout": "soon"}},
        {"gateway": {"head_timeout": None}},
        {"gateway": {"workers": 0}},
        {"gateway": {"workers": 1.5}},
        {"gateway": {"open_networks": ["10.0.0.1/8"]}},
        {"gateway": {"open_networks": "10.0.0.0/8"}},
        {"gateway": {"open_networks": ["everything"]}},
        {"gateway": {"most_fields": 1}},
        {"log": {"level": "loud"}},
        {"log": {"format": "xml"}},
        {"gateway": []},
        {"cloud": None},
    ],
)
def test_a_wrong_value_or_unknown_key_is_an_error(document: Any) -> None:
    with pytest.raises(ValidationError):
        Configuration.model_validate(document)


def test_names_are_normalised() -> None:
    settings = Configuration.model_validate(
        {"cloud": {"domain": "Arc.MÜNCHEN.de."}, "gateway": {"control_address": "[::1]:9443"}}
    )
    assert settings.cloud.domain == "arc.xn--mnchen-3ya.de"
    assert settings.gateway.control_address == "[::1]:9443"
    assert settings.gateway_suffix == ".gw.arc.xn--mnchen-3ya.de"


def test_urls_carry_the_public_port_unless_it_is_443() -> None:
    assert Configuration().url_of("a.example") == "https://a.example"
    settings = Configuration.model_validate({"cloud": {"public_port": 8443}})
    assert settings.url_of("a.example") == "https://a.example:8443"


def test_the_control_planes_names_lie_below_the_domain_and_further_ones_are_added() -> None:
    settings = Configuration.model_validate({"cloud": {"domain": "c.example", "extra_names": ["localhost"]}})
    assert settings.control_names == (
        "management.c.example", "login.c.example", "gbl.his.c.example", "packages.c.example", "download.c.example",
        "localhost",
    )  # fmt: skip
