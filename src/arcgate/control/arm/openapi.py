"""The description of the API as OpenAPI 3.1, made from its routes and the models of their bodies: /openapi.json."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from arcgate import __version__
from arcgate.control.arm.endpoint import ArmRoute, Verb
from arcgate.control.context import ControlContext
from arcgate.control.paths import CaselessRoute
from arcgate.control.urls import base_url

_PARAMETER = re.compile(r"\{([a-z_]+)\}")
_GUID = {"type": "string", "format": "uuid"}
_NAME = {"type": "string", "minLength": 1, "maxLength": 90, "pattern": "^[A-Za-z0-9_.()-]+$"}
_PARAMETERS: Mapping[str, Mapping[str, Any]] = {
    "subscription": _GUID,
    "tenant": _GUID,
    "assignment": _GUID,
    "operation": _GUID,
    "principal": _GUID,
    "settings": {"type": "string", "enum": ["default"]},
}
_ERROR: Mapping[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "target": {"type": "string"},
                "details": {"type": "array", "items": {"type": "object"}},
            },
        }
    },
}


def routes(context: ControlContext, described: Iterable[BaseRoute]) -> list[BaseRoute]:
    """Return the route of the description, which needs no sign-in."""
    document = describe(described)

    async def answer(request: Request) -> Response:
        return JSONResponse({**document, "servers": [{"url": base_url(request, context.configuration)}]})

    return [CaselessRoute("/openapi.json", answer, methods=["GET"])]


def describe(described: Iterable[BaseRoute]) -> dict[str, Any]:
    """Return the description of those of the routes that belong to ARM."""
    found = [route for route in described if isinstance(route, ArmRoute)]
    schemas, definitions = _schemas(found)
    paths: dict[str, Any] = {}
    for route in found:
        operations = {
            method.lower(): _operation(route, method, verb, schemas) for method, verb in sorted(route.verbs.items())
        }
        paths.setdefault(route.path, {}).update({"parameters": _path_parameters(route.path), **operations})
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Arcgate",
            "version": __version__,
            "description": "The resource manager of an Arcgate cloud. Every request needs an access token.",
        },
        "security": [{"bearer": []}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            "schemas": {**definitions, "Error": _ERROR},
        },
    }


def _schemas(found: Iterable[ArmRoute]) -> tuple[dict[type[BaseModel], Any], dict[str, Any]]:
    models = sorted({verb.body for route in found for verb in route.verbs.values() if verb.body}, key=str)
    template = "#/components/schemas/{model}"
    by_model, document = models_json_schema([(model, "validation") for model in models], ref_template=template)
    return {model: by_model[model, "validation"] for model in models}, document.get("$defs", {})


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": dict(_PARAMETERS.get(name, _NAME))}
        for name in _PARAMETER.findall(path)
    ]


def _operation(route: ArmRoute, method: str, verb: Verb, schemas: Mapping[type[BaseModel], Any]) -> dict[str, Any]:
    version = {
        "name": "api-version",
        "in": "query",
        "required": True,
        "schema": {
            "type": "string",
            "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(-preview)?$",
            "example": route.versions[0],
        },
        "description": f"One of {', '.join(route.versions)}; another date is answered like the nearest of them.",
    }
    described: dict[str, Any] = {
        "operationId": operation_id(route.path, method),
        "tags": [_tag(route.path)],
        "parameters": [version, *map(_query_parameter, verb.query)],
        "responses": _responses(),
    }
    if verb.action:
        described["description"] = f"Needs the action {verb.action}."
    if verb.body is not None:
        content = {"application/json": {"schema": schemas[verb.body]}}
        described["requestBody"] = {"required": True, "content": content}
    return described


def _query_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": {"type": "string", "maxLength": 300}}


def _responses() -> dict[str, Any]:
    refusal = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {
        "2XX": {"description": "The resource, the list, or the start of a long-running operation."},
        "304": {"description": "The client has this version already."},
        "4XX": {"description": "A refusal, with a code and a message.", "content": refusal},
        "503": {"description": "The database is busy; try again.", "content": refusal},
    }


def operation_id(path: str, method: str) -> str:
    """Return the name of an operation, such as get_subscription_resourceGroups_group."""
    words = [part.strip("{}") for part in path.split("/") if part]
    return "_".join([method.lower(), *(word.replace(".", "") for word in words)])


def _tag(path: str) -> str:
    namespaces = [part for part in path.split("/") if "." in part]
    return namespaces[-1] if namespaces else "Microsoft.Resources"
