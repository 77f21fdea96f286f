"""A Kerberos realm: its files, and the commands that make and run it, wherever they are run."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

REALM = "CORP.EXAMPLE"


@dataclass
class Realm:
    """A realm with its server at an address and port; `run` runs a command to its good end with an environment."""

    folder: Path
    address: str
    port: int
    run: Callable[[tuple[str, ...], dict[str, str]], None]

    @property
    def environment(self) -> dict[str, str]:
        """For everything that belongs to the realm."""
        return {"KRB5_CONFIG": str(self.folder / "krb5.conf"), "KRB5_KDC_PROFILE": str(self.folder / "kdc.conf")}

    @property
    def server(self) -> tuple[str, ...]:
        """The server's command, in the foreground."""
        return "krb5kdc", "-n", "-P", str(self.folder / "pid")

    def make(self) -> "Realm":
        """Write the files and make the database."""
        self.folder.mkdir()
        (self.folder / "krb5.conf").write_text(
            f"[libdefaults]\n default_realm = {REALM}\n dns_lookup_realm = false\n dns_lookup_kdc = false\n"
            " dns_canonicalize_hostname = false\n rdns = false\n udp_preference_limit = 1\n"
            f"[realms]\n {REALM} = {{\n  kdc = {self.address}:{self.port}\n }}\n"
            f"[domain_realm]\n .corp.example = {REALM}\n"
            "[logging]\n kdc = STDERR\n"
        )
        (self.folder / "kdc.conf").write_text(
            f"[kdcdefaults]\n kdc_listen = {self.port}\n kdc_tcp_listen = {self.port}\n"
            f"[realms]\n {REALM} = {{\n  database_name = {self.folder}/principal\n"
            f"  key_stash_file = {self.folder}/stash\n }}\n"
        )
        self._run("kdb5_util", "create", "-s", "-r", REALM, "-P", "master")
        return self

    def keytab(self, principal: str) -> Path:
        """Make a principal with random keys and return the file with them."""
        file = self.folder / f"{principal.replace('/', '-')}.keytab"
        for query in (f"addprinc -randkey {principal}", f"ktadd -k {file} {principal}"):
            self._run("kadmin.local", "-r", REALM, "-q", query)
        return file

    def user(self, principal: str, password: str) -> None:
        """Make a principal with a password."""
        self._run("kadmin.local", "-r", REALM, "-q", f"addprinc -pw {password} {principal}")

    def _run(self, *argv: str) -> None:
        self.run(argv, self.environment)
