"""The catalogue that this control plane works with: the shipped one, or a newer one from a signed bundle."""

from dataclasses import dataclass
from pathlib import Path

import structlog

from arcgate.core.catalogue import Catalogue, catalogue_in_force, shipped_catalogue
from arcgate.core.configuration import Configuration
from arcgate.core.errors import StateError
from arcgate.wire.catalogue_bundle import LARGEST_BUNDLE, open_bundle, read_public_key

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LoadedCatalogue:
    """A catalogue with its texts, which nodes get; no texts mean the shipped one, which they have."""

    catalogue: Catalogue
    texts: tuple[str, ...] = ()


def load_catalogue(configuration: Configuration) -> LoadedCatalogue:
    """Return the newer of the bundle's and the shipped catalogue.

    Raises StateError (FILE_UNREADABLE) for a missing file, InputError for a bundle that no trusted key signed.
    """
    file = configuration.control.catalogue_bundle
    if file is None:
        return LoadedCatalogue(shipped_catalogue())
    trusted = [read_public_key(_read(path)) for path in configuration.control.catalogue_keys]
    texts = open_bundle(_read(file), trusted).texts
    catalogue = catalogue_in_force(texts)
    if catalogue is shipped_catalogue():
        _log.warning("the catalogue's bundle is not newer than the shipped catalogue", file=str(file))
        return LoadedCatalogue(catalogue)
    return LoadedCatalogue(catalogue, texts)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(LARGEST_BUNDLE + 1)
    except OSError as error:
        raise StateError("FILE_UNREADABLE", f"{path} can't be read.", cause=str(error)) from None
