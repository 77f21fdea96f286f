import socket
import stat
from pathlib import Path

import pytest

from arcgate.cli.server_plan import Role, bind, complete, prepare, prepare_state_folder, sole_server
from arcgate.core.configuration import Configuration
from arcgate.core.errors import ConfigurationError, StateError


def configuration(tmp_path: Path, **gateway: object) -> Configuration:
    return Configuration.model_validate(
        {"state_dir": str(tmp_path / "state"), "listen": {"addresses": ["127.0.0.1"], "port": 0}, "gateway": gateway}
    )


def test_in_one_piece_the_gateway_knows_its_control_plane(tmp_path: Path) -> None:
    plan = prepare(configuration(tmp_path, workers=2), Role.ALL)
    try:
        gateway = plan.configuration.gateway
        port = plan.front[0].getsockname()[1]
        assert plan.configuration.cloud.public_port == port
        assert gateway.control_url == f"https://management.arcgate.test:{port}"
        assert gateway.control_address == f"127.0.0.1:{plan.control[0].getsockname()[1]}"
        assert gateway.control_ca_file == tmp_path / "state" / "ca.pem"
        assert Configuration.model_validate_json(plan.file.read_bytes()) == plan.configuration
        assert stat.S_IMODE(plan.file.stat().st_mode) == 0o600
        assert [child.name for child in plan.gateway_children()] == ["gateway-0", "gateway-1"]
        child = plan.control_child()
        assert child is not None
        assert child.descriptors == (plan.control[0].fileno(), plan.passed_on[0].fileno())
        front = plan.configuration.front_socket
        assert stat.S_IMODE(front.stat().st_mode) == 0o600
        assert stat.S_IMODE(front.parent.stat().st_mode) == 0o700
        assert all(str(front) in child.arguments for child in plan.gateway_children())
    finally:
        plan.close()
    assert not plan.file.exists()
    assert not front.exists()


def test_a_control_plane_alone_listens_at_the_front(tmp_path: Path) -> None:
    plan = prepare(configuration(tmp_path), Role.CONTROL)
    try:
        child = plan.control_child()
        assert child is not None
        assert child.descriptors == (plan.front[0].fileno(),)
        assert plan.gateway_children() == []
    finally:
        plan.close()


def test_a_gateway_alone_must_know_its_control_plane(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="control plane"):
        prepare(configuration(tmp_path), Role.GATEWAY)
    plan = prepare(configuration(tmp_path, control_url="https://management.example"), Role.GATEWAY)
    assert plan.control_child() is None
    assert "--control-socket" not in plan.gateway_children()[0].arguments
    plan.close()


def test_a_fixed_port_leaves_the_public_port_alone(tmp_path: Path) -> None:
    document = {"listen": {"port": 8443}, "cloud": {"public_port": 443}}
    assert complete(Configuration.model_validate(document), Role.ALL, 8443, "127.0.0.1:1").cloud.public_port == 443


def test_all_addresses_share_one_free_port() -> None:
    sockets = bind(("127.0.0.1", "127.0.0.2", "127.0.0.3"), 0)
    try:
        assert len({one.getsockname()[1] for one in sockets}) == 1
    finally:
        for one in sockets:
            one.close()


def test_a_port_that_is_taken_is_told_and_nothing_stays_open(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.2", 0)) as taken, pytest.raises(StateError, match="listen"):
        bind(("127.0.0.1", "127.0.0.2"), taken.getsockname()[1])


def test_the_state_folder_is_made_for_us_alone(tmp_path: Path) -> None:
    prepare_state_folder(tmp_path / "state")
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "state" / "run").stat().st_mode) == 0o700


def test_a_state_folder_that_everybody_may_write_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(StateError, match="Everybody"):
        prepare_state_folder(tmp_path)


def test_a_state_folder_that_can_not_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="can't be used"):
        prepare_state_folder(tmp_path / "file" / "state")


@pytest.mark.parametrize(
    ("first", "second"), [(Role.ALL, Role.ALL), (Role.ALL, Role.GATEWAY), (Role.CONTROL, Role.ALL)]
)
def test_two_servers_never_share_a_state_folder(tmp_path: Path, first: Role, second: Role) -> None:
    prepare_state_folder(tmp_path)
    with sole_server(tmp_path, first), pytest.raises(StateError, match="Another"), sole_server(tmp_path, second):
        pass


def test_gateway_and_control_plane_may_run_beside_each_other(tmp_path: Path) -> None:
    prepare_state_folder(tmp_path)
    with sole_server(tmp_path, Role.CONTROL), sole_server(tmp_path, Role.GATEWAY):
        assert (tmp_path / "run" / "gateway.lock").exists()
