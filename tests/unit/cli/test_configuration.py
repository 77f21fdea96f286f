from ipaddress import ip_network
from pathlib import Path

import pytest

from arcgate.cli.configuration import ConfigurationErrors, load_configuration
from arcgate.cli.settings import all_settings
from arcgate.core.configuration import Configuration
from arcgate.core.errors import ConfigurationError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "arcgate.toml"
    path.touch(mode=0o600)
    return path


def complaint(file: Path, environment: dict[str, str] | None = None) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        load_configuration(file, environment or {})
    assert not isinstance(caught.value, ConfigurationErrors), [one.sentence for one in caught.value.errors]
    return caught.value


def test_an_empty_file_gives_the_defaults(file: Path) -> None:
    assert load_configuration(file, {}) == Configuration()


def test_settings_of_the_file_are_taken(file: Path) -> None:
    file.write_text(
        'state_dir = "/srv/arcgate"\n[listen]\nport = 8443\n[gateway]\nopen_networks = ["10.1.0.0/16"]\n'
        'hosts = { "a.example" = "10.1.0.1" }\nidle_timeout = 10\n'
    )
    loaded = load_configuration(file, {})
    assert loaded.state_dir == Path("/srv/arcgate")
    assert loaded.listen.port == 8443
    assert loaded.gateway.open_networks == (ip_network("10.1.0.0/16"),)
    assert loaded.gateway.hosts == {"a.example": "10.1.0.1"}
    assert loaded.gateway.idle_timeout == 10.0


def test_the_environment_wins_over_the_file(file: Path) -> None:
    file.write_text("[gateway]\nworkers = 4\n")
    environment = {
        "ARCGATE_GATEWAY__WORKERS": "2",
        "ARCGATE_STATE_DIR": "/srv/other",
        "ARCGATE_GATEWAY__OPEN_NETWORKS": "10.1.0.0/16, fd00::/8",
        "ARCGATE_GATEWAY__HOSTS": "a.example=10.1.0.1,b.example=10.1.0.2",
        "ARCGATE_GATEWAY__IDLE_TIMEOUT": "1.5",
    }
    loaded = load_configuration(file, environment)
    assert loaded.gateway.workers == 2
    assert loaded.state_dir == Path("/srv/other")
    assert [str(one) for one in loaded.gateway.open_networks] == ["10.1.0.0/16", "fd00::/8"]
    assert loaded.gateway.hosts == {"a.example": "10.1.0.1", "b.example": "10.1.0.2"}
    assert loaded.gateway.idle_timeout == 1.5


def test_the_file_may_be_named_by_the_environment(file: Path) -> None:
    file.write_text("[listen]\nport = 8443\n")
    assert load_configuration(None, {"ARCGATE_CONFIG": str(file)}).listen.port == 8443


def test_an_empty_text_leaves_a_path_unset(file: Path) -> None:
    file.write_text('[tls]\ncertificate_file = ""\nkey_file = ""\n')
    assert load_configuration(file, {}).tls.certificate_file is None


@pytest.mark.parametrize(
    ("text", "guess"),
    [
        ("[gateway]\nworker = 2\n", "gateway.workers"),
        ("[gatway]\nworkers = 2\n", "gateway"),
        ("port = 2\n", "listen.port"),
        ("stat_dir = '/x'\n", "state_dir"),
    ],
)
def test_an_unknown_key_is_an_error_with_a_guess(file: Path, text: str, guess: str) -> None:
    file.write_text(text)
    error = complaint(file)
    assert "no such setting" in error.sentence
    assert f"Did you mean {guess}?" in error.remedy


@pytest.mark.parametrize(
    ("name", "guess"),
    [("ARCGATE_GATEWAY__WORKER", "ARCGATE_GATEWAY__WORKERS"), ("ARCGATE_STATEDIR", "ARCGATE_STATE_DIR")],
)
def test_a_misspelt_variable_is_an_error_with_a_guess(file: Path, name: str, guess: str) -> None:
    error = complaint(file, {name: "1"})
    assert error.place.key == name
    assert error.remedy == f"Did you mean {guess}?"


@pytest.mark.parametrize("name", ["ARCGATE_SERVICE_HOST", "ARCGATE_PORT_443_TCP", "ARCGATE_CONFIG_DIR"])
def test_variables_that_container_platforms_make_are_left_alone(file: Path, name: str) -> None:
    assert load_configuration(file, {name: "10.0.0.1"}) == Configuration()


WRONG = {
    "text": ["5", "true", "['x']", "1979-05-27"],
    "number": ["'443 '", "'443'", "true", "-1", "1e9", "nan", "inf", "[]", "{}", "1979-05-27T07:32:00Z"],
    "list": ["'10.0.0.0/8'", "5", "[5]", "{}"],
    "table": ["'a=b'", "[]", "{ a = 5 }"],
    "path": ["5", "[]", "true"],
    "one of": ["'loud'", "5"],
}
CASES = [
    (setting.key, value)
    for setting in all_settings()
    for kind, values in WRONG.items()
    if setting.kind.startswith(kind)
    for value in values
]


@pytest.mark.parametrize(("key", "value"), CASES)
def test_a_value_of_another_type_is_refused_with_line_and_key(file: Path, key: str, value: str) -> None:
    table, _, name = key.rpartition(".")
    file.write_text(f"# first line\n[{table}]\n{name} = {value}\n" if table else f"# first line\n\n{name} = {value}\n")
    error = complaint(file)
    assert error.place.line == 3
    assert error.place.key.startswith(key)
    assert str(file) in error.sentence


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[listen]\nport = 70000", "less than or equal to 65535"),
        ("[listen]\nport = -1", "greater than or equal to 0"),
        ("[cloud]\npublic_port = 0", "greater than or equal to 1"),
        ("[gateway]\nidle_timeout = 0", "greater than 0"),
        ("[gateway]\nopen_networks = ['10.0.0.1/8']", "open_networks"),
        ("[gateway]\nopen_networks = ['*']", "open_networks"),
        ("[gateway]\ncontrol_address = 'fd00::1:443'", "not a target"),
        ("[gateway]\ncontrol_address = '10.0.0.1'", "not a target"),
        ("[control]\nlisten = 'host:0'", "not a target"),
        ("[cloud]\ndomain = '10.0.0.1'", "not a host name"),
        ("[cloud]\ndomain = 'a..b'", "not a host name"),
        ("[log]\nlevel = 'loud'", "'debug'"),
    ],
)
def test_a_value_out_of_range_is_refused_in_words(file: Path, text: str, words: str) -> None:
    file.write_text(text + "\n")
    error = complaint(file)
    assert words in error.sentence
    assert error.place.line == 2


def test_a_wrong_variable_is_named_and_not_the_file(file: Path) -> None:
    error = complaint(file, {"ARCGATE_LISTEN__PORT": "443 x"})
    assert (error.place.file, error.place.key) == ("environment", "ARCGATE_LISTEN__PORT")


def test_several_mistakes_are_all_reported(file: Path) -> None:
    file.write_text("[listen]\nport = 'x'\n[gateway]\nworkers = 0\nworker = 1\n")
    with pytest.raises(ConfigurationErrors) as caught:
        load_configuration(file, {"ARCGATE_LOG__LEVEL": "loud"})
    assert sorted(one.place.key for one in caught.value.errors) == [
        "ARCGATE_LOG__LEVEL",
        "gateway.worker",
        "gateway.workers",
        "listen.port",
    ]
    assert caught.value.sentence == caught.value.errors[0].sentence


def test_a_section_that_is_no_table_is_refused_even_beside_a_variable(file: Path) -> None:
    file.write_text("gateway = 5\n")
    assert complaint(file, {"ARCGATE_GATEWAY__WORKERS": "2"}).place.key.startswith(("gateway", "ARCGATE_GATEWAY"))


def test_a_password_in_the_database_url_is_never_repeated(file: Path) -> None:
    file.write_text("[database]\nurl = 'mysql://user:secret@host/db'\n")
    assert "secret" not in complaint(file).one_line()
    file.write_text("[database]\nurl = ['postgresql://user:secret@host/db']\n")
    assert "secret" not in complaint(file).one_line()
