"""Stand-in of a container registry: a token by a challenge, manifests, and layers that are at another name."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from worlds.vendor.exchange import NOT_FOUND, Answer, Request, Service, answer_json

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_TOKEN = "token-to-pull"


def image(layer: bytes, plain_layer: bytes) -> tuple[bytes, Mapping[str, bytes]]:
    """Return the manifest of an image with one layer (as it is sent, and unpacked), and its blobs by digest."""
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(plain_layer)]},
        }
    ).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _descriptor("application/vnd.oci.image.config.v1+json", config),
        "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar+gzip", layer)],
    }
    return json.dumps(manifest).encode(), {digest_of(blob): blob for blob in (config, layer)}


def digest_of(blob: bytes) -> str:
    """Return the digest as registries write it."""
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def registry(folder: Path, data_host: str) -> Service:
    """Return a registry with the image of the folder, whose blobs are at another name."""

    def serve(request: Request) -> Answer:
        if request.path == "/oauth2/token":
            return answer_json({"token": _TOKEN, "access_token": _TOKEN})
        if request.bearer != _TOKEN:
            realm = f'Bearer realm="https://{request.host}/oauth2/token",service="{request.host}"'
            return answer_json({"errors": [{"code": "UNAUTHORIZED"}]}, 401, WWW_Authenticate=realm)
        if request.path == "/v2/":
            return answer_json({})
        if "/manifests/" in request.path:
            return _manifest((folder / "manifest").read_bytes())
        if "/blobs/" in request.path:
            return Answer(307, b"", {"Location": f"https://{data_host}/{request.path.rpartition('/')[2]}"})
        return NOT_FOUND

    return serve


def data_endpoint(folder: Path) -> Service:
    """Return what serves the blobs of the folder to whoever knows their digests."""

    def serve(request: Request) -> Answer:
        file = folder / Path(request.path).name
        if not file.is_file():
            return NOT_FOUND
        return Answer(200, file.read_bytes(), {"Content-Type": "application/octet-stream"})

    return serve


def _manifest(blob: bytes) -> Answer:
    return Answer(200, blob, {"Content-Type": MANIFEST, "Docker-Content-Digest": digest_of(blob)})


def _descriptor(kind: str, blob: bytes) -> dict[str, object]:
    return {"mediaType": kind, "size": len(blob), "digest": digest_of(blob)}
