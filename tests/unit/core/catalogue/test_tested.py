"""What the documents say of scenarios' tests is what the tests say and show."""

from pathlib import Path

from arcgate.cli.scenario_reference import OWN_WAY, read_results, render_scenarios
from arcgate.core.catalogue import shipped_catalogue
from worlds.scenario_marks import ScenarioMark, scenario_marks
from worlds.scenario_results import FILE, claims, committed, recorded, render

MARK = ScenarioMark("KeyVault", {"<vault>.vault.azure.net": ("a client",)}, "tests/test_a.py::test_a")
TEST = """
@pytest.mark.scenario("KeyVault", {"<vault>.vault.azure.net": "one client, another"})
def test_a():
    pass

def test_without():
    pass
"""


def test_every_marked_test_has_its_result_and_every_result_its_marked_tests() -> None:
    # After a change of a marker or its test: make scenario-results
    results = committed()
    assert {name: {key: one[key] for key in ("tests", "clients")} for name, one in results.items()} == claims(
        scenario_marks()
    )
    assert {one["result"] for one in results.values()} == {"passed"}


def test_the_markers_name_endpoints_of_the_catalogue() -> None:
    scenarios = shipped_catalogue().scenarios
    for mark in scenario_marks():
        known = {endpoint.text for endpoint in scenarios[mark.scenario].endpoints}
        assert mark.clients.keys() <= known | {OWN_WAY}, mark.test
        assert mark.clients


def test_markers_are_read_from_source(tmp_path: Path) -> None:
    file = tmp_path / "test_it.py"
    file.write_text(TEST)
    (mark,) = scenario_marks(file)
    assert mark.scenario == "KeyVault"
    assert mark.clients == {"<vault>.vault.azure.net": ("one client", "another")}
    assert mark.test.endswith("test_it.py::test_a")


def test_a_failure_is_recorded_and_what_did_not_run_keeps_its_result() -> None:
    found = recorded([MARK], {MARK.test: False}, "2026-01-02")
    assert found["KeyVault"]["result"] == "failed"
    assert recorded([MARK], {MARK.test: True}, "2026-01-02")["KeyVault"]["result"] == "passed"
    assert recorded([MARK], {}, "2026-01-02") == {}
    assert recorded(scenario_marks(), {}, "2026-01-02") == committed()


def test_the_file_is_what_a_recorded_run_writes() -> None:
    assert FILE.read_text() == render(committed())
    assert committed() == dict(read_results())


def test_the_page_names_the_client_of_each_endpoint() -> None:
    page = render_scenarios()
    assert "| `<vault>.vault.azure.net` | The vault | " in page
    row = next(line for line in page.splitlines() if line.startswith("| `<vault>.vault.azure.net` | The vault"))
    assert row.endswith("| azure-keyvault-secrets |")
