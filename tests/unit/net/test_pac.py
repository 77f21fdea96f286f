"""PAC files: what they answer, what they may ask, and what they can't do."""

from ipaddress import IPv4Address

import pytest

from arcgate.core.errors import StateError
from arcgate.core.names import parse_target
from arcgate.net.pac import PacAnswer, PacFile, own_address, parse_choices

TARGET = parse_target("app.corp.example:443")


def answer(body: str, target: str = "app.corp.example:443", **known: str) -> list[str]:
    names = {name.replace("_", "."): address for name, address in known.items()}
    found = PacFile(f"function FindProxyForURL(url, host) {{ {body} }}").find(parse_target(target), names)
    assert found.missing == ()
    return [str(one) if one is not None else "DIRECT" for one in found.choices]


def test_a_file_names_proxies_in_order() -> None:
    assert answer('return "PROXY one:3128; HTTPS two.example; SOCKS three:1080; DIRECT"') == [
        "http://one:3128",
        "https://two.example",
        "DIRECT",
    ]


@pytest.mark.parametrize("answered", ["null", "undefined", '"DIRECT"'])
def test_no_answer_is_a_direct_connection(answered: str) -> None:
    assert answer(f"return {answered}") == ["DIRECT"]


@pytest.mark.parametrize(
    "condition",
    [
        'url === "https://app.corp.example/"',
        'host === "app.corp.example"',
        'dnsDomainIs(host, ".corp.example")',
        'shExpMatch(host, "*.corp.e?ample")',
        '!shExpMatch("appXcorp", "app.corp")',
        "!isPlainHostName(host)",
        "dnsDomainLevels(host) === 2",
        'localHostOrDomainIs("app", "app.corp.example")',
        'isInNet("192.0.2.77", "192.0.2.0", "255.255.255.0")',
        '!isInNet("192.0.3.77", "192.0.2.0", "255.255.255.0")',
        'isInNet("203.0.113.9", "128.0.0.0", "128.0.0.0")',
        'weekdayRange("SUN", "SAT")',
        "timeRange(0, 23)",
        'myIpAddress() === "127.0.0.1"',
    ],
)
def test_the_usual_functions_do_what_everybody_expects(condition: str) -> None:
    assert answer(f'return {condition} ? "PROXY yes:1" : "DIRECT"') == ["http://yes:1"]


def test_names_are_asked_for_and_known_in_the_next_run() -> None:
    file = PacFile(
        'function FindProxyForURL(url, host) { return isInNet(host, "10.0.0.0", "255.0.0.0") ? "DIRECT" : "PROXY p:1" }'
    )
    assert file.find(TARGET, {}) == PacAnswer(missing=("app.corp.example",))
    assert file.find(TARGET, {"app.corp.example": "10.1.2.3"}).choices == (None,)
    (proxy,) = file.find(TARGET, {"app.corp.example": "192.0.2.1"}).choices
    assert str(proxy) == "http://p:1"


@pytest.mark.parametrize(
    "script",
    [
        "",
        "function FindProxyForURL(",
        "function FindProxyForURL() { for (;;) {} }",
        "function FindProxyForURL() { var all = []; for (;;) all.push('x'.repeat(100000)) }",
        "function FindProxyForURL() { return FindProxyForURL() }",
        "function FindProxyForURL() { throw 'no' }",
        "function FindProxyForURL() { return require('fs') }",
        "function FindProxyForURL() { return std.open('/etc/passwd') }",
        "function FindProxyForURL() { return 'SOCKS a:1' }",
        "function FindProxyForURL() { return 'PROXY http://evil' }",
        "x" * 1024 * 1024 + "y",
    ],
)
def test_a_file_that_is_broken_greedy_or_curious_is_an_error(script: str) -> None:
    with pytest.raises(StateError) as caught:
        PacFile(script).find(TARGET, {})
    assert caught.value.code == "PAC_UNUSABLE"
    assert caught.value.remedy


def test_one_run_leaves_nothing_for_the_next() -> None:
    file = PacFile("var count = 0; function FindProxyForURL() { count++; return 'PROXY p' + count + ':1' }")
    for _ in range(2):
        (proxy,) = file.find(TARGET, {}).choices
        assert str(proxy) == "http://p1:1"


@pytest.mark.parametrize("text", ["PROXY", "PROXY a:99999", "PROXY a b", "\n", "PROXY a:1\nPROXY b:1", "NONSENSE"])
def test_choices_that_mean_nothing_are_passed_over(text: str) -> None:
    assert parse_choices(f"{text}; DIRECT") == (None,)


def test_choices_may_stand_on_lines_of_their_own() -> None:
    assert answer('return "\\n PROXY one:1;\\r\\n PROXY two:2 ;\\n DIRECT\\n"') == [
        "http://one:1",
        "http://two:2",
        "DIRECT",
    ]


def test_a_file_in_another_encoding_is_said_to_be_one() -> None:
    text = 'function FindProxyForURL(url, host) { return "DIRECT" }'.encode("utf-16-le").decode("utf-8", "replace")
    with pytest.raises(StateError) as caught:
        PacFile(text)
    assert "UTF-8" in caught.value.remedy


def test_a_file_may_ask_for_the_address_of_the_machine() -> None:
    file = PacFile('function FindProxyForURL(url, host) { return "PROXY " + myIpAddress() + ":1" }')
    assert [str(one) for one in file.find(TARGET, {}, "10.7.7.7").choices] == ["http://10.7.7.7:1"]


def test_the_address_of_the_machine_is_one() -> None:
    assert IPv4Address(own_address()) != IPv4Address("0.0.0.0")
