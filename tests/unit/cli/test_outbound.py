import pytest

from arcgate.cli.outbound import proxy_for
from arcgate.core.errors import InputError
from arcgate.core.names import parse_target

TARGET = parse_target("management.arcgate.example:443")


def test_without_variables_the_way_is_direct() -> None:
    assert proxy_for(TARGET, {}) is None


@pytest.mark.parametrize("text", ["http://squid:3128", "squid:3128"])
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy"])
def test_a_proxy_is_taken_with_and_without_scheme(name: str, text: str) -> None:
    proxy = proxy_for(TARGET, {name: text})
    assert proxy is not None
    assert proxy.origin == "http://squid:3128"


def test_http_proxy_is_not_for_https() -> None:
    assert proxy_for(TARGET, {"HTTP_PROXY": "http://squid:3128", "http_proxy": "http://squid:3128"}) is None


@pytest.mark.parametrize(
    "exempt", ["*", "arcgate.example", ".arcgate.example", "other, Management.arcgate.example", "*.arcgate.example"]
)
def test_no_proxy_exempts_names(exempt: str) -> None:
    assert proxy_for(TARGET, {"HTTPS_PROXY": "http://squid:3128", "NO_PROXY": exempt}) is None


@pytest.mark.parametrize("exempt", ["", ",", "gate.example", "management", "10.0.0.0/8", "arcgate.example.org"])
def test_other_names_are_not_exempt(exempt: str) -> None:
    assert proxy_for(TARGET, {"HTTPS_PROXY": "http://squid:3128", "NO_PROXY": exempt}) is not None


@pytest.mark.parametrize(
    ("exempt", "is_direct"), [("10.0.0.0/8", True), ("10.1.2.3", True), ("10.1.2.4", False), ("x/y", False)]
)
def test_no_proxy_exempts_addresses_and_networks(exempt: str, is_direct: bool) -> None:
    found = proxy_for(parse_target("10.1.2.3:443"), {"HTTPS_PROXY": "http://squid:3128", "NO_PROXY": exempt})
    assert (found is None) == is_direct


@pytest.mark.parametrize("text", ["http://u:hush@h:99999", "ftp://squid", "http://[::1"])
def test_a_malformed_proxy_is_told_without_its_password(text: str) -> None:
    with pytest.raises(InputError, match="HTTPS_PROXY") as caught:
        proxy_for(TARGET, {"HTTPS_PROXY": text})
    assert "hush" not in caught.value.one_line()
