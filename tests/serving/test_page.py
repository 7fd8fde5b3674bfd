"""The demo page and the API page in headless Chromium, by keyboard alone where it matters."""

import os
import shutil
from pathlib import Path

import pytest
from serving_support import PHOTOS

webdriver = pytest.importorskip("selenium.webdriver")
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

ARTEFACTS = Path(__file__).resolve().parents[2] / "build" / "artefacts"


@pytest.fixture(scope="module")
def browser():
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("Chromium or its driver is absent (tools/setup --tests installs both)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                 "--window-size=1200,1500", "--hide-scrollbars"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # A proxy of the environment is not for loopback.
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"
    running = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield running
    running.quit()


def wait(browser, what, seconds=60):
    return WebDriverWait(browser, seconds).until(what)


def done(browser):
    status = browser.find_element(By.ID, "status").text
    error = browser.find_element(By.ID, "error").text
    assert not error, error
    return status.startswith("Done")


def rows(browser, table):
    return [
        [cell.text for cell in row.find_elements(By.CSS_SELECTOR, "th,td")]
        for row in browser.find_elements(By.CSS_SELECTOR, f"#{table} tbody tr")
    ]


def test_a_picture_and_texts_are_looked_at(browser, start):
    with start() as server:
        browser.get(server.url + "/")
        browser.find_element(By.ID, "file").send_keys(str(PHOTOS / "coffee.webp"))
        wait(browser, lambda b: b.find_element(By.ID, "preview").is_displayed())
        texts = browser.find_element(By.ID, "texts")
        texts.clear()
        texts.send_keys("a cup of coffee on a saucer\ntwo dogs run on the beach")
        # By keyboard: from the texts over "API key" to the button.
        for _ in range(4):
            browser.switch_to.active_element.send_keys(Keys.TAB)
            if browser.switch_to.active_element.get_attribute("id") == "run":
                break
        assert browser.switch_to.active_element.get_attribute("id") == "run"
        browser.switch_to.active_element.send_keys(Keys.ENTER)
        wait(browser, done)
        match = rows(browser, "match")
        assert len(match) == 2
        by_text = {row[0]: float(row[2]) for row in match}
        assert by_text["a cup of coffee on a saucer"] > by_text["two dogs run on the beach"]
        assert "coffee" in browser.find_element(By.ID, "tokens").text
        assert browser.find_element(By.ID, "vector").is_displayed()

        browser.find_element(By.ID, "keep").click()
        wait(browser, lambda b: b.find_element(By.ID, "status").text.startswith("Kept"))
        browser.find_element(By.ID, "run").click()
        wait(browser, lambda b: done(b) and rows(b, "near"))
        assert float(rows(browser, "near")[0][1]) > 0.99

        ARTEFACTS.mkdir(parents=True, exist_ok=True)
        browser.save_screenshot(str(ARTEFACTS / "demo-page.png"))
        severe = [line for line in browser.get_log("browser") if line["level"] == "SEVERE"]
        assert not severe


def test_an_error_is_told_on_the_page(browser, url, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes((PHOTOS / "coffee.webp").read_bytes()[:100])
    browser.get(url + "/")
    browser.find_element(By.ID, "file").send_keys(str(broken))
    wait(browser, lambda b: b.find_element(By.ID, "clear").is_displayed()
         or b.find_element(By.ID, "error").is_displayed())
    browser.find_element(By.ID, "run").click()
    wait(browser, lambda b: b.find_element(By.ID, "error").text)
    assert browser.find_element(By.ID, "error").get_attribute("role") == "alert"


def test_every_field_has_a_name_and_nothing_comes_from_elsewhere(browser, url):
    browser.get(url + "/")
    for field in browser.find_elements(By.CSS_SELECTOR, "input, textarea, button, canvas"):
        if field.is_displayed():
            assert field.accessible_name, field.get_attribute("outerHTML")
    assert browser.find_element(By.TAG_NAME, "html").get_attribute("lang") == "en"
    for page in ("/", "/docs"):
        browser.get(url + page)
        wait(browser, lambda b: b.execute_script("return document.readyState") == "complete")
        names = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
        assert names and all(name.startswith((url, "data:", "blob:")) for name in names)


def test_the_api_page_lists_every_operation(browser, url):
    import requests

    paths = requests.get(url + "/openapi.json").json()["paths"]
    browser.get(url + "/docs")
    wait(browser, lambda b: "/v1/fused/embeddings" in b.find_element(By.TAG_NAME, "main").text)
    text = browser.find_element(By.TAG_NAME, "main").text
    assert not [path for path in paths if path not in text]
