"""What the metadata endpoint takes for a request, and what it refuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcgate.agent.himds.metadata_requests import VERSIONS, Asked, Document, Refused, Reply, read_request

PORT = 40342
TOKEN = "/metadata/identity/oauth2/token"
RESOURCE = "resource=https%3A%2F%2Fmanagement.azure.com%2F"
GOOD = f"{TOKEN}?api-version=2020-06-01&{RESOURCE}"
FIELDS = (("host", "localhost:40342"), ("metadata", "true"))


def _refused(target: str = GOOD, fields: tuple[tuple[str, str], ...] = FIELDS, method: str = "GET") -> Reply:
    with pytest.raises(Refused) as caught:
        read_request(method, target, fields, PORT)
    reply = caught.value.reply
    assert set(reply.document) == {"error", "error_description"}
    return reply


def _with_host(host: str) -> tuple[tuple[str, str], ...]:
    return (("host", host), ("metadata", "true"))


def test_a_token_is_asked_for() -> None:
    assert read_request("GET", GOOD, FIELDS, PORT) == Asked(Document.TOKEN, "https://management.azure.com/")


def test_the_content_of_the_challenge_file_is_taken_as_it_is() -> None:
    asked = read_request("GET", GOOD, (*FIELDS, ("authorization", "Basic aB-_9")), PORT)
    assert asked.secret == "aB-_9"
    assert "aB-_9" not in repr(asked)


@pytest.mark.parametrize("text", ["Basic", "Basic a b", "Bearer abc", "Basic a=", "Basic " + "a" * 4097])
def test_another_authorization_is_none(text: str) -> None:
    assert read_request("GET", GOOD, (*FIELDS, ("authorization", text)), PORT).secret == ""


@pytest.mark.parametrize("value", ["true", "True", "TRUE"])
def test_the_cache_may_be_bypassed(value: str) -> None:
    assert read_request("GET", f"{GOOD}&bypass_cache={value}", FIELDS, PORT).bypass_cache


def test_other_values_of_bypass_cache_are_refused() -> None:
    assert _refused(f"{GOOD}&bypass_cache=1").status == 400


@pytest.mark.parametrize("host", ["localhost:40342", "LOCALHOST:40342", "127.0.0.1:40342", "[::1]:40342"])
def test_the_machine_itself_may_be_named(host: str) -> None:
    assert read_request("GET", GOOD, _with_host(host), PORT).document is Document.TOKEN


@pytest.mark.parametrize(
    "host",
    ["evil.example:40342", "localhost", "localhost:80", "127.0.0.1", "127.0.0.2:40342", "::1:40342", "0.0.0.0:40342",
     "localhost.:40342", "localhost:40342.evil.example", "evil.example", "", "169.254.169.254:40342"],
)  # fmt: skip
def test_a_page_that_dns_leads_here_is_refused(host: str) -> None:
    assert _refused(fields=_with_host(host)).status == 403


def test_two_hosts_are_none() -> None:
    assert _refused(fields=(*FIELDS, ("host", "localhost:40342"))).status == 400


def test_no_host_is_refused() -> None:
    assert _refused(fields=(("metadata", "true"),)).status == 403


@pytest.mark.parametrize("fields", [(), (("metadata", "false"),), (("metadata", ""),), (("metadata", "1"),)])
def test_the_header_that_pages_can_not_set_is_needed(fields: tuple[tuple[str, str], ...]) -> None:
    reply = _refused(fields=(("host", "localhost:40342"), *fields))
    assert (reply.status, reply.document["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("name", ["x-forwarded-for", "forwarded"])
def test_what_a_proxy_passed_on_is_refused(name: str) -> None:
    assert _refused(fields=(*FIELDS, (name, "10.0.0.1"))).status == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "CONNECT", "get"])
def test_get_is_the_only_method(method: str) -> None:
    reply = _refused(method=method)
    assert reply.status == 405
    assert reply.headers == (("Allow", "GET"),)


@pytest.mark.parametrize(
    "target", [f"http://localhost:40342{GOOD}", "*", "", "localhost:40342", "/metadata/instance\x00", "/" + "a" * 9000]
)
def test_targets_in_other_forms_are_refused(target: str) -> None:
    assert _refused(target).status == 400


@pytest.mark.parametrize("path", ["/", "/metadata", "/metadata/identity/oauth2/token/x", "/metadata/../etc/passwd"])
def test_other_paths_are_not_there(path: str) -> None:
    assert _refused(f"{path}?api-version=2020-06-01").status == 404


@pytest.mark.parametrize(
    ("document", "version"), [(one, version) for one, known in VERSIONS.items() for version in known]
)
def test_each_document_has_its_versions(document: Document, version: str) -> None:
    assert read_request("GET", f"{document}?api-version={version}&{RESOURCE}", FIELDS, PORT).document is document


@pytest.mark.parametrize("version", ["", "2018-02-01", "2020-06-01 ", "latest"])
def test_other_versions_are_refused_with_the_known_ones(version: str) -> None:
    reply = _refused(f"{TOKEN}?api-version={version.replace(' ', '+')}&{RESOURCE}")
    assert reply.status == 400
    assert "2020-06-01" in reply.document["error_description"]


@pytest.mark.parametrize("name", ["client_id", "object_id", "msi_res_id", "mi_res_id", "CLIENT_ID"])
def test_a_user_assigned_identity_is_none_of_this_machine(name: str) -> None:
    reply = _refused(f"{GOOD}&{name}=6b1a")
    assert reply.status == 400
    assert "system-assigned" in reply.document["error_description"]


@pytest.mark.parametrize("query", ["", "&resource=", f"&{RESOURCE}&{RESOURCE}", "&resource=%ff", "&" + "a=1&" * 30])
def test_the_resource_stands_once(query: str) -> None:
    assert _refused(f"{TOKEN}?api-version=2020-06-01{query}").status == 400


def _reply(method: str, target: str, fields: list[tuple[str, str]]) -> Reply | None:
    try:
        read_request(method, target, fields, PORT)
    except Refused as refused:
        return refused.reply
    return None


@given(method=st.text(max_size=8), target=st.text(max_size=60), value=st.text(max_size=60), name=st.text(max_size=12))
def test_whatever_is_sent_is_read_or_refused(method: str, target: str, value: str, name: str) -> None:
    fields = [*FIELDS, (name, value), ("authorization", value)]
    for one in (target, f"{TOKEN}?{target}", f"{GOOD}&{target}"):
        for way in (method, "GET"):
            reply = _reply(way, one, fields)
            assert reply is None or 400 <= reply.status < 500
