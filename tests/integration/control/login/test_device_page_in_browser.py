"""The page for device codes as a person meets it, in a real browser."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from worlds.browser import browser
from worlds.cloud_process import CloudProcess, HttpReply, cloud_process

AZURE_CLI = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
PATIENCE = 15_000
"""Milliseconds until something on a page is taken for missing."""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudProcess]:
    with cloud_process(tmp_path_factory.mktemp("cloud")) as running:
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as started:
        yield started


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    # Its authority is made by each start anew, and no store of the browser's knows it.
    context = chromium.new_context(ignore_https_errors=True)
    context.set_default_timeout(PATIENCE)
    opened = context.new_page()
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda message: problems.append(message.text) if "Content Security" in message.text else None)
    yield opened
    context.close()
    assert problems == []


def _begin(cloud: CloudProcess, client_id: str = AZURE_CLI) -> dict[str, str]:
    scope = f"{cloud.base}//.default offline_access openid profile"
    begun: dict[str, str] = cloud.form(
        f"/{cloud.tenant}/oauth2/v2.0/devicecode", {"client_id": client_id, "scope": scope}
    ).json()
    return begun


def _poll(cloud: CloudProcess, begun: dict[str, str], client_id: str = AZURE_CLI) -> HttpReply:
    fields = {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "client_id": client_id,
        "device_code": begun["device_code"],
    }
    return cloud.form(f"/{cloud.tenant}/oauth2/v2.0/token", fields)


def _go_to_confirmation(page: Page, cloud: CloudProcess, begun: dict[str, str]) -> None:
    page.goto(begun["verification_uri"])
    expect(page).to_have_title(re.compile("^Sign in .* Arcgate$"))
    page.get_by_label("Code").fill(begun["user_code"].lower().replace("-", " "))
    page.get_by_role("button", name="Next").click()
    page.get_by_label("User").fill(cloud.first["user"])
    page.get_by_label("Password").fill(cloud.first["password"])
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading")).to_have_text("Let it sign in as you?")


def test_a_person_sees_who_asks_for_what_and_confirms(page: Page, cloud: CloudProcess) -> None:
    begun = _begin(cloud)
    _go_to_confirmation(page, cloud, begun)
    told = page.locator("dl")
    for text in ("Azure CLI", AZURE_CLI, "127.0.0.1", "Arcgate", cloud.tenant, cloud.first["user"], begun["user_code"]):
        expect(told).to_contain_text(text)
    assert _poll(cloud, begun).json()["error"] == "authorization_pending"
    page.get_by_role("button", name="Confirm").click()
    expect(page.get_by_role("heading")).to_have_text("Signed in")
    assert _poll(cloud, begun).status == 200
    # A code is good once.
    assert _poll(cloud, begun).json()["error"] == "expired_token"


def test_a_person_denies_and_nothing_is_given_away(page: Page, cloud: CloudProcess) -> None:
    begun = _begin(cloud, "<img src=x onerror=alert(1)>")
    _go_to_confirmation(page, cloud, begun)
    expect(page.locator("dl")).to_contain_text("An unknown client")
    expect(page.locator("dl")).to_contain_text("<img src=x onerror=alert(1)>")
    assert page.locator("img").count() == 0
    page.get_by_role("button", name="Deny").click()
    expect(page.get_by_role("heading")).to_have_text("Denied")
    assert _poll(cloud, begun, "<img src=x onerror=alert(1)>").json()["error"] == "authorization_declined"


def test_mistakes_are_told_and_can_be_corrected(page: Page, cloud: CloudProcess) -> None:
    begun = _begin(cloud)
    page.goto(begun["verification_uri"])
    page.get_by_label("Code").fill("BCD-FGH-JKL")
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_role("alert")).to_contain_text("There is no such code")
    page.get_by_label("Code").fill(begun["user_code"])
    page.get_by_role("button", name="Next").click()
    page.get_by_label("User").fill(cloud.first["user"])
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("User or password is not right")
    page.get_by_label("Password").fill(cloud.first["password"])
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Confirm").click()
    expect(page.get_by_role("heading")).to_have_text("Signed in")


def test_the_page_works_with_the_keyboard_alone_and_without_scripts(chromium: Browser, cloud: CloudProcess) -> None:
    begun = _begin(cloud)
    context = chromium.new_context(ignore_https_errors=True, java_script_enabled=False)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(f"{begun['verification_uri']}?user_code={begun['user_code']}")
    page.get_by_label("Code").press("Enter")
    page.get_by_label("User").fill(cloud.first["user"])
    page.get_by_label("Password").fill(cloud.first["password"])
    page.get_by_label("Password").press("Enter")
    page.get_by_role("button", name="Confirm").press("Enter")
    expect(page.get_by_role("heading")).to_have_text("Signed in")
    context.close()
    assert _poll(cloud, begun).status == 200


def test_the_page_is_not_shown_in_a_frame_of_another_site(
    chromium: Browser, cloud: CloudProcess, tmp_path: Path
) -> None:
    frame = tmp_path / "evil.html"
    frame.write_text(f'<iframe src="{cloud.base}/devicelogin"></iframe>')
    context = chromium.new_context(ignore_https_errors=True)
    page = context.new_page()
    with page.expect_console_message(lambda message: "frame-ancestors 'none'" in message.text, timeout=PATIENCE):
        page.goto(frame.as_uri())
    assert "Enter the code" not in page.frames[1].content()
    context.close()
