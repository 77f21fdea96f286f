"""The official clients in their own virtual environment, run as their users do: as commands."""

import json
import os
import re
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from worlds.cloud_process import CloudProcess

ENVIRONMENT = Path(os.environ.get("AZURE_VENV", Path(__file__).resolve().parents[2] / ".venv-azure"))
DEADLINE = 50
"""Seconds for one command."""


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    status: int
    output: str
    errors: str

    def json(self) -> Any:
        return json.loads(self.output)


@dataclass
class AzureCli:
    """`az` with a configuration folder of its own."""

    cloud: CloudProcess
    folder: Path

    def environment(self, **more: str) -> dict[str, str]:
        """Return what az sees: no proxies of ours, and it may keep bytecode, which makes it three times faster."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return {
            **kept,
            "AZURE_CONFIG_DIR": str(self.folder),
            "AZURE_CORE_COLLECT_TELEMETRY": "no",
            "AZURE_CORE_INSTANCE_DISCOVERY": "false",
            "AZURE_CORE_LOGIN_EXPERIENCE_V2": "off",
            "REQUESTS_CA_BUNDLE": str(self.cloud.ca),
            **more,
        }

    def try_to(self, *words: str, **environment: str) -> Done:
        """Run a command and return how it ended."""
        done = subprocess.run(
            [str(ENVIRONMENT / "bin" / "az"), *words],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
            env=self.environment(**environment),
            stdin=subprocess.DEVNULL,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    def __call__(self, *words: str, **environment: str) -> Any:
        """Run a command that must succeed, and return what it printed as JSON (None for nothing)."""
        done = self.try_to(*words, **environment)
        assert done.status == 0, f"az {' '.join(words)}: {done.status}\n{done.errors}"
        return done.json() if done.output.strip() else None

    def refused(self, *words: str, status: int = 1) -> str:
        """Run a command that must fail with this exit status, and return what it said."""
        done = self.try_to(*words)
        assert done.status == status, f"az {' '.join(words)}: {done.status}\n{done.output}{done.errors}"
        return done.errors

    def use_cloud(self) -> None:
        """Register the cloud by its description, and switch to it."""
        self("cloud", "register", "-n", "Arcgate", "--endpoint-resource-manager", self.cloud.base)
        self("cloud", "set", "-n", "Arcgate")

    def device_login(self, *words: str, answer: str = "confirm", **environment: str) -> Done:
        """Log in with a device code, which is answered on the browser's page."""
        return self.log_in_while(lambda code: self.cloud.approve(code, answer), *words, **environment)

    def log_in_while(self, approve: Any, *words: str, **environment: str) -> Done:
        """Log in with a device code, which `approve` is called with."""
        command = [str(ENVIRONMENT / "bin" / "az"), "login", "--use-device-code", *words]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment(**environment),
            stdin=subprocess.DEVNULL,
        )
        assert process.stderr is not None
        said = ""
        try:
            for line in process.stderr:
                said += line
                if code := re.search(r"enter the code ([A-Z-]{11})", line):
                    approve(code[1])
                    break
            output, errors = process.communicate(timeout=DEADLINE)
        finally:
            process.kill()
            process.communicate()
        return Done(process.returncode, output, said + errors)


def run_script(cloud: CloudProcess, script: Path, *arguments: str, **environment: str) -> Done:
    """Run a Python script with the SDKs; it sees the cloud in ARCGATE_* variables."""
    command = [str(ENVIRONMENT / "bin" / "python"), str(script), *arguments]
    env = script_environment(cloud, **environment)
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False, env=env)
    return Done(done.returncode, done.stdout, done.stderr)


def script_environment(cloud: CloudProcess, **more: str) -> dict[str, str]:
    """Return what a script with the SDKs sees."""
    return {
        "PATH": os.environ["PATH"],
        "REQUESTS_CA_BUNDLE": str(cloud.ca),
        "ARCGATE_BASE": cloud.base,
        "ARCGATE_TENANT": cloud.first["tenantId"],
        "ARCGATE_SUBSCRIPTION": cloud.first["subscriptionId"],
        **more,
    }


def make_certificate(folder: Path, name: str = "client") -> tuple[Path, str]:
    """Return a file with key and certificate as the clients take it, and the certificate alone."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .sign(key, hashes.SHA256())
    )
    public = certificate.public_bytes(Encoding.PEM).decode()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    file = folder / f"{name}.pem"
    file.touch(mode=0o600)
    file.write_text(private + public)
    return file, public
