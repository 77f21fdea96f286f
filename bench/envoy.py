"""Envoy as Arc Proxy and gateway: CONNECT from the client, then CONNECT over TLS 1.3 with a client certificate."""

import json
from pathlib import Path
from typing import Any

import trustme
from ports import Port

NAME = "gateway.bench"
_HTTP = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"
_VERSION = {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"}
# With the default codec, Envoy takes 1,000 tunnels that clients close for an attack and closes the connection.
_HTTP2 = {"allow_connect": True, "use_oghttp2_codec": True, "max_concurrent_streams": 100_000}


def write_certificates(folder: Path) -> None:
    """Write an authority and certificates of a gateway and of a machine."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    authority.issue_cert(NAME).private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    authority.issue_cert("machine.bench").private_key_and_cert_chain_pem.write_to_path(folder / "client.pem")


def gateway(folder: Path, port: Port, target: Port) -> str:
    """Return the configuration of the hop that ends TLS and dials the target."""
    route = {
        "match": {"connect_matcher": {}},
        "route": {
            "cluster": "target",
            "timeout": "0s",
            "upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}],
        },
    }
    tls = {
        "@type": f"{_TLS}.DownstreamTlsContext",
        "require_client_certificate": True,
        "common_tls_context": {**_common(folder, "server"), "alpn_protocols": ["h2", "http/1.1"]},
    }
    return _document(_listener(port, route, tls), {"name": "target", **_endpoint(target)})


def proxy(folder: Path, port: Port, gateway_port: Port, *, http2: bool) -> str:
    """Return the configuration of the hop that clients talk to."""
    protocol = {"http2_protocol_options": _HTTP2} if http2 else {"http_protocol_options": {}}
    cluster = {
        "name": "gateway",
        **_endpoint(gateway_port),
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {"@type": _HTTP, "explicit_http_config": protocol}
        },
        "transport_socket": _socket(
            {"@type": f"{_TLS}.UpstreamTlsContext", "sni": NAME, "common_tls_context": _common(folder, "client")}
        ),
    }
    route = {"match": {"connect_matcher": {}}, "route": {"cluster": "gateway", "timeout": "0s"}}
    return _document(_listener(port, route, None), cluster)


def _common(folder: Path, name: str) -> dict[str, Any]:
    file = {"filename": str(folder / f"{name}.pem")}
    return {
        "tls_params": _VERSION,
        "tls_certificates": [{"certificate_chain": file, "private_key": file}],
        "validation_context": {"trusted_ca": {"filename": str(folder / "ca.pem")}},
    }


def _socket(tls: dict[str, Any]) -> dict[str, Any]:
    return {"name": "envoy.transport_sockets.tls", "typed_config": tls}


def _address(port: Port) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _endpoint(port: Port) -> dict[str, Any]:
    most = {"max_connections": 100_000, "max_requests": 100_000, "max_pending_requests": 100_000}
    return {
        "type": "STATIC",
        "circuit_breakers": {"thresholds": [most]},  # the usual limit is 1,024 tunnels
        "load_assignment": {
            "cluster_name": "x",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}],
        },
    }


def _listener(port: Port, route: dict[str, Any], tls: dict[str, Any] | None) -> dict[str, Any]:
    manager = {
        "@type": _MANAGER,
        "stat_prefix": "x",
        "stream_idle_timeout": "0s",
        "upgrade_configs": [{"upgrade_type": "CONNECT"}],
        "http2_protocol_options": _HTTP2,
        "route_config": {"virtual_hosts": [{"name": "x", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": _ROUTER}}],
    }
    chain: dict[str, Any] = {"filters": [{"name": "envoy.http_connection_manager", "typed_config": manager}]}
    if tls is not None:
        chain["transport_socket"] = _socket(tls)
    return {"name": "x", "address": _address(port), "filter_chains": [chain]}


def _document(listener: dict[str, Any], cluster: dict[str, Any]) -> str:
    return json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}})
