"""Somebody with a browser and a real vLLM: deploy it, chat, break it, read why, restart it, and chat again."""

import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_daemon import LOAD_SECONDS, EngineDaemon, architecture, catalog, chat, daemon, models_section
from engines_bed import EnginesInfo

sys.path.append(str(Path(__file__).resolve().parents[1] / "browser"))

from browser_kit import browser, first_login, missing, one_time_password, settled, watched_page
from playwright.sync_api import Page, expect

pytestmark = [
    pytest.mark.engines,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(missing() != "" and not os.environ.get("MODELGRID_CI"), reason=missing() or "all is there"),
]

LONG = 2_097_152
"""Tokens of context that need 2 GiB of this model's KV cache, of which the engine gets half."""
ENV = "HF_HUB_OFFLINE=1\nOMP_NUM_THREADS=1"
LOAD_MS = 1000 * LOAD_SECONDS


@pytest.fixture
def made(vllm_bed: EnginesInfo, tmp_path: Path) -> Iterator[EngineDaemon]:
    vllm = vllm_bed.vllm
    assert vllm is not None
    too_long = {
        "id": "modelgrid-test/long",
        "aliases": ["long"],
        "context": LONG,
        "vllm_args": [
            *("--enforce-eager", "--dtype", "float32", "--max-num-batched-tokens", "512"),
            *("--hf-overrides", f'{{"max_position_embeddings": {LONG}}}'),
        ],
        "architecture": architecture(vllm, layers=1),
    }
    document = {
        "docker": {"runtime": "process", "vllmPath": str(vllm.executable)},
        "models": models_section(catalog(tmp_path / "catalog.json", vllm, too_long)),
    }
    with daemon(tmp_path, document) as found:
        yield found


@pytest.fixture
def page(made: EngineDaemon) -> Iterator[Page]:
    with browser() as found:
        page, seen = watched_page(found, f"http://127.0.0.1:{made.ui_port}")
        first_login(page, one_time_password(made.state))
        yield page
        seen.nothing()
        page.context.close()


def deploy(page: Page, model: str, context: int) -> str:
    """Deploy a model from the catalog, on the CPU; return the id of its deployment, whose drawer is open then."""
    page.goto(f"/models/catalog?capability=chat&q={model}")
    settled(page)
    page.get_by_role("button", name=f"Deploy {model}").click()
    dialog = page.locator("mg-deploy-dialog")
    dialog.get_by_label("Context").fill(str(context))
    dialog.get_by_label("Environment").fill(ENV)
    dialog.get_by_text("Advanced").click()
    dialog.get_by_label("GPUs").fill("0")
    dialog.get_by_label("Concurrency").fill("1")
    expect(page.get_by_role("region", name="Where it would land").get_by_text("on the CPU").first).to_be_visible()
    dialog.get_by_role("button", name="Deploy", exact=True).click()
    page.get_by_role("link", name="Follow it").click()
    expect(page.locator("mg-drawer aside")).to_be_visible()
    found = re.search(r"open=([^&]+)", page.url)
    assert found
    return found[1]


def test_deploy_chat_break_diagnose_restart(made: EngineDaemon, page: Page) -> None:
    name = deploy(page, "modelgrid-test/tiny", 4096)
    drawer = page.locator("mg-drawer")
    expect(drawer.get_by_text("Running", exact=True)).to_be_visible(timeout=LOAD_MS)  # walked there by the stream
    sdk = made.openai()
    assert chat(sdk).choices[0].message.content
    drawer.get_by_role("link", name="Logs", exact=True).click()
    expect(drawer.get_by_text("Application startup complete").first).to_be_visible()
    drawer.get_by_role("link", name="Metrics", exact=True).click()
    expect(drawer.get_by_text("KV cache in use")).to_be_visible()

    # Broken from the start: from the tile on the overview to the cause and what mends it.
    broken = deploy(page, "modelgrid-test/long", LONG)
    expect(drawer.get_by_text("Failed", exact=True)).to_be_visible(timeout=LOAD_MS)
    page.goto("/overview/stats")
    settled(page)
    page.get_by_role("link", name=re.compile("1 failed")).click()
    expect(page).to_have_url(re.compile("state=failed"))
    page.get_by_role("link", name=broken).click()
    failure = drawer.get_by_role("region", name="Last failure")
    expect(failure).to_contain_text("KV cache")
    expect(failure).to_contain_text(re.compile(r"at most [\d,]+ tokens"))
    drawer.get_by_role("link", name="Events", exact=True).click()
    expect(drawer.get_by_text("diagnosed", exact=True)).to_be_visible()
    expect(drawer.get_by_text("gave up", exact=True)).to_be_visible()
    drawer.get_by_role("link", name="Logs", exact=True).click()
    expect(drawer.get_by_text("its last lines")).to_be_visible()
    expect(drawer.get_by_text("KV cache").last).to_be_visible()
    drawer.get_by_role("button", name="Actions").click()
    drawer.get_by_role("button", name="Remove…", exact=True).click()
    page.locator("mg-confirm").get_by_role("textbox").fill(broken)
    page.locator("mg-confirm").get_by_role("button", name="Remove").click()

    # Killed while it serves: seen, started again by itself, and once more by hand.
    page.goto(f"/deployments/active?open={name}&tab=events")
    settled(page)
    before = made.deployment(name)
    os.kill(int(before["engine_id"].partition(":")[0]), signal.SIGKILL)
    expect(drawer.get_by_text("killed by signal 9").first).to_be_visible()
    again = made.wait_for(name, lambda item: item["attempt"] > before["attempt"], "it is started again")
    expect(drawer.get_by_text("Running", exact=True)).to_be_visible(timeout=LOAD_MS)
    drawer.get_by_role("button", name="Actions").click()
    drawer.get_by_role("button", name="Restart…", exact=True).click()
    page.locator("mg-confirm").get_by_role("button", name="Restart").click()
    expect(drawer.get_by_text("It restarts.")).to_be_visible()
    made.wait_for(name, lambda item: item["attempt"] > again["attempt"], "it is restarted")
    made.running(name)
    expect(drawer.get_by_text("Running", exact=True)).to_be_visible(timeout=LOAD_MS)
    assert chat(sdk).choices[0].message.content
