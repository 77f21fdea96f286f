"""Downloads for machines that have no agent yet: open to everybody, and without secrets."""

from sqlalchemy import select
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from arcgate.control.context import ControlContext
from arcgate.control.failures import ApiError
from arcgate.control.packages.clouds import Approach, cloud_definition, download_url
from arcgate.control.packages.extension_shelf import ExtensionShelf, extensions_folder
from arcgate.control.packages.index import PackageIndex
from arcgate.control.packages.installer import render_linux, render_windows
from arcgate.control.packages.shelf import Shelf
from arcgate.control.packages.trust import authorities_pem
from arcgate.control.store.models import GatewayRow
from arcgate.control.urls import base_url

GATEWAY_NAME_FIELD = "Arcgate-Gateway-Name"
"""Set by a gateway that passes a plain request on; believed only if it is the name of a gateway."""

_MEDIA_TYPES = {
    ".gz": "application/gzip",
    ".sha256": "text/plain",
    ".deb": "application/vnd.debian.binary-package",
    ".rpm": "application/x-rpm",
}


class Downloads:
    """Handlers of the downloads, over one context."""

    def __init__(self, context: ControlContext) -> None:
        self._context = context
        configuration = context.configuration
        ready = configuration.control.packages_folder or configuration.state_dir / "packages"
        self._shelf = Shelf(configuration.state_dir / "control" / "packages", ready)
        self._index = PackageIndex(context, self._shelf, ready)
        self._extensions = ExtensionShelf(extensions_folder(configuration))

    def routes(self) -> list[Route]:
        """Return the routes of the downloads."""
        return [
            Route("/azcmagent-linux", self.give_linux_installer, methods=["GET"]),
            Route("/azcmagent-windows", self.give_windows_installer, methods=["GET"]),
            Route("/packages/azcmagent/index.json", self.list_packages, methods=["GET"]),
            Route("/packages/azcmagent/index.json.sig", self.give_signatures, methods=["GET"]),
            Route("/packages/azcmagent/{name}", self.give_package, methods=["GET"]),
            Route("/packages/extensions/index.json", self.list_extensions, methods=["GET"]),
            Route("/packages/extensions/{name}", self.give_extension, methods=["GET"]),
            Route("/ca.pem", self.give_authorities, methods=["GET"]),
        ]

    async def give_linux_installer(self, request: Request) -> Response:
        """Give the shell script, made for the way that the request came."""
        configuration = self._context.configuration
        approach = await self._approach(request)
        authorities = authorities_pem(configuration, self._context.authority)
        cloud = cloud_definition(configuration, authorities, approach, await self._index.keys())
        url = download_url(configuration, approach)
        script = render_linux(self._shelf.package, cloud, url, await self._shelf.offers())
        return PlainTextResponse(script, media_type="text/x-shellscript")

    async def give_windows_installer(self, _request: Request) -> Response:
        """Give the PowerShell script."""
        cloud = cloud_definition(self._context.configuration, "", Approach())
        return PlainTextResponse(render_windows(self._shelf.package, cloud))

    async def list_packages(self, _request: Request) -> Response:
        """List the packages with their checksums."""
        return Response((await self._index.signed()).index, media_type="application/json")

    async def give_signatures(self, _request: Request) -> Response:
        """Give the signatures of the list."""
        return PlainTextResponse((await self._index.signed()).signatures)

    async def give_package(self, request: Request) -> Response:
        """Give the agent's package or its checksum."""
        path = await self._shelf.find(request.path_params["name"])
        if path is None:
            remedy = f"There is {self._shelf.package.file_name}, and what /packages/azcmagent/index.json lists."
            raise ApiError(404, "PackageNotFound", "There is no such package.", remedy=remedy)
        return FileResponse(path, media_type=_MEDIA_TYPES.get(path.suffix, "application/octet-stream"))

    async def list_extensions(self, _request: Request) -> Response:
        """List the packages of extensions, each with its publisher's signature."""
        return JSONResponse({"packages": await self._extensions.listed()})

    async def give_extension(self, request: Request) -> Response:
        """Give a package of an extension."""
        path = await self._extensions.find(request.path_params["name"])
        if path is None:
            remedy = "There is what /packages/extensions/index.json lists."
            raise ApiError(404, "PackageNotFound", "There is no such package.", remedy=remedy)
        return FileResponse(path, media_type="application/zip")

    async def give_authorities(self, _request: Request) -> Response:
        """Give the authorities to trust for this control plane and its gateways."""
        text = authorities_pem(self._context.configuration, self._context.authority) or self._context.authority.ca_pem
        return PlainTextResponse(text, media_type="application/x-pem-file")

    async def _approach(self, request: Request) -> Approach:
        name = request.headers.get(GATEWAY_NAME_FIELD, "").lower()
        if name and await self._is_gateway(name):
            return Approach(gateway_name=name)
        came_by = base_url(request, self._context.configuration)
        extra = self._context.configuration.cloud.extra_names
        return Approach(
            extra_name=next((one for one in extra if self._context.configuration.url_of(one) == came_by), "")
        )

    async def _is_gateway(self, name: str) -> bool:
        suffix = self._context.configuration.gateway_suffix
        prefix = name.removesuffix(suffix)
        if prefix == name:
            return False
        async with self._context.store.read() as session:
            found = await session.execute(select(GatewayRow.id).where(GatewayRow.prefix == prefix))
            return found.first() is not None


def routes(context: ControlContext) -> list[Route]:
    """Return the routes of the downloads."""
    return Downloads(context).routes()
