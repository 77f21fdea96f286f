"""The extensions that ship, packed for tests as scripts/build-extensions does."""

from pathlib import Path

from worlds.extension_packages import Publisher, packed

ROOT = Path(__file__).parents[2]
LIBRARIES = ROOT / "build" / "monitor-libraries"
TYPES = {"CustomScript": "custom_script", "Monitor": "monitor"}


def shipped(type_: str) -> bytes:
    """Return the package's zip."""
    folder = ROOT / "extensions" / TYPES[type_]
    files: dict[str, str | bytes] = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    files["contract.py"] = (ROOT / "extensions/shared/contract.py").read_bytes()
    files["bin/launcher"] = (ROOT / "extensions/shared/launcher").read_bytes()
    if type_ == "Monitor":
        assert LIBRARIES.is_dir(), "Monitor's libraries are missing: run make extensions"
        found = (path for path in LIBRARIES.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        files |= {f"lib/{path.relative_to(LIBRARIES).as_posix()}": path.read_bytes() for path in found}
    return packed(files)


def put_on_shelf(folder: Path, *types: str) -> Publisher:
    """Put packages into a server's folder of extensions, signed by a publisher whom that server trusts."""
    publisher = Publisher(name="Arcgate")
    for type_ in types:
        publisher.put(folder, shipped(type_), "1.0", type_)
    return publisher
