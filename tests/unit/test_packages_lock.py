"""The lock that the agent's packages are made from: it holds all that the agent imports, or may."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def test_packages_are_made_with_every_library_of_the_agent() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["pac"], *extras["uvloop"]]
    lock = (ROOT / "requirements/packages.txt").read_text()
    names = [found[0] for line in wanted if (found := _NAME.match(line))]
    assert [name for name in names if f"\n{name}==" not in lock] == []
