import pytest

from arcgate.control.login.audiences import audience_of
from arcgate.control.login.failures import GrantError

KNOWN = frozenset({"https://a.test", "https://a.test/"})


@pytest.mark.parametrize(
    ("scope", "resource", "audience"),
    [
        ("https://a.test//.default", "", "https://a.test/"),
        ("https://a.test/.default offline_access openid profile", "", "https://a.test"),
        ("https://a.test/user_impersonation", "", "https://a.test"),
        ("openid", "https://a.test/", "https://a.test/"),
        ("", "", "default"),
    ],
)
def test_exactly_one_default_is_stripped(scope: str, resource: str, audience: str) -> None:
    assert audience_of(scope, resource, KNOWN | {"default"}, "default") == audience


@pytest.mark.parametrize("scope", ["https://b.test/.default", "a b", "https://a.test/.default/.default", "ä", "a\nb"])
def test_other_scopes_are_refused(scope: str) -> None:
    with pytest.raises(GrantError) as caught:
        audience_of(scope, "", KNOWN, "https://a.test")
    assert caught.value.code == "invalid_scope"
