"""Which hosts NO_PROXY exempts."""

import pytest

from arcgate.core.names import parse_target
from arcgate.core.proxy_exemptions import is_exempt


@pytest.mark.parametrize(
    ("exemptions", "host", "expected"),
    [
        ("", "a.example", False),
        ("a.example", "a.example", True),
        ("a.example", "b.a.example", True),
        (".a.example", "b.a.example", True),
        ("*.a.example", "b.a.example", True),
        ("a.example", "notaa.example", False),
        ("other, A.Example ,", "a.example", True),
        ("*", "192.0.2.1", True),
        ("192.0.2.0/24", "192.0.2.1", True),
        ("192.0.2.0/24", "192.0.3.1", False),
        ("10.1.2.3/8", "10.200.0.1", True),
        ("localhost 192.0.2.1\ta.example", "a.example", True),
        ("10.0.0.0/99,a.example", "10.0.0.1", False),
        ("[2001:db8::1]", "[2001:db8::1]", True),
        ("not an address", "192.0.2.1", False),
    ],
)
def test_an_entry_exempts_a_host_what_is_below_it_an_address_or_a_network(
    exemptions: str, host: str, expected: bool
) -> None:
    assert is_exempt(parse_target(host, 443), exemptions) is expected
