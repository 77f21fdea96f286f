"""Names of packages: each kind is read as it was written, and everything else is no package."""

import pytest

from arcgate.core.package_offers import Offer, read_name, table


@pytest.mark.parametrize(
    ("name", "kind", "machine", "libc"),
    [
        ("azcmagent_1.2.3_amd64.deb", "deb", "x86_64", "gnu"),
        ("azcmagent_1.2.3_arm64.deb", "deb", "aarch64", "gnu"),
        ("azcmagent-1.2.3-1.x86_64.rpm", "rpm", "x86_64", "gnu"),
        ("azcmagent-1.2.3-r0.aarch64.apk", "apk", "aarch64", "musl"),
        ("azcmagent-1.2.3-linux-gnu-x86_64.tar.gz", "archive", "x86_64", "gnu"),
        ("azcmagent-1.2.3-linux-musl-x86_64.tar.gz", "archive", "x86_64", "musl"),
    ],
)
def test_a_packages_name_says_what_it_is_for(name: str, kind: str, machine: str, libc: str) -> None:
    assert read_name(name) == Offer(name, "1.2.3", kind, machine, libc)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "azcmagent.sha256sums",
        "../azcmagent_1.2.3_amd64.deb",
        "azcmagent_1.2.3_amd64.deb\n",
        "azcmagent_1.2.3_mips.deb",
        "azcmagent_$(id)_amd64.deb",
        "azcmagent_1.2 3_amd64.deb",
        "azcmagent_\u0661.2_amd64.deb",
    ],
)
def test_everything_else_is_no_package(name: str) -> None:
    assert read_name(name) is None


def test_the_installers_table_is_words_alone() -> None:
    one = Offer("azcmagent_1.2.3_amd64.deb", "1.2.3", "deb", "x86_64", "gnu", "ab" * 32)
    assert table([one, one]).splitlines()[0].split() == [
        "1.2.3",
        "deb",
        "gnu",
        "x86_64",
        "azcmagent_1.2.3_amd64.deb",
        "ab" * 32,
    ]
