"""The hosts file, whatever stands in it."""

from ipaddress import ip_address
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from arcgate.net.hosts_file import HostsFile, _parse_hosts

ONE, TWO = ip_address("192.0.2.1"), ip_address("2001:db8::2")


def test_a_name_has_all_its_addresses_in_order_once_each_line(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("192.0.2.1 A.example a.example b.example # c.example\n\n2001:db8::2%lo\ta.example\nx a.example\n")
    hosts = HostsFile(path)
    assert hosts.look_up("a.example") == [ONE, TWO]
    assert hosts.look_up("b.example") == [ONE]
    assert hosts.look_up("c.example") == []


def test_a_change_is_seen_at_once_and_without_a_file_there_is_nothing(tmp_path: Path) -> None:
    path, other = tmp_path / "hosts", tmp_path / "other"
    hosts = HostsFile(path)
    assert hosts.look_up("a.example") == []
    path.write_text("192.0.2.1 a.example\n")
    assert hosts.look_up("a.example") == [ONE]
    other.write_text("192.0.2.9 a.example\n")
    other.replace(path)
    assert hosts.look_up("a.example") == [ip_address("192.0.2.9")]
    path.unlink()
    assert hosts.look_up("a.example") == []


@given(st.text(alphabet="192.0:ab#% \t\n\x00é"))
def test_any_text_is_read_without_a_failure(text: str) -> None:
    assert all(found for found in _parse_hosts(text).values())
