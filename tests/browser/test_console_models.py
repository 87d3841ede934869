"""Deploying from the catalog: filtered by the address, previewed, asked for, and followed until it runs."""

from browser_kit import log_in, settled, watched_page
from daemon_under_test import DaemonUnderTest
from playwright.sync_api import Browser, expect

CHOSEN = "Qwen/Qwen3-4B-Instruct-2507"

WALK = """row => {
  const seen = (window.walked = []);
  const look = () => {
    const state = row.querySelector('mg-status').getAttribute('state');
    if (state !== seen.at(-1)) seen.push(state);
  };
  look();
  new MutationObserver(look).observe(row, { subtree: true, childList: true, attributes: true });
}"""
"""Writes down every state that this row shows."""


def test_a_model_is_deployed_from_the_catalog(chromium: Browser, fleet: DaemonUnderTest) -> None:
    page, seen = watched_page(chromium, fleet.console_url)
    log_in(page, at="/models/catalog")
    settled(page)
    page.get_by_label("Capability", exact=True).select_option("chat")
    page.get_by_label("VRAM", exact=True).select_option("24")
    assert "capability=chat" in page.url
    assert "vram=24" in page.url
    expect(page.get_by_role("row").filter(has_text="bge-m3")).to_have_count(0)  # embeds, does not chat
    page.get_by_role("button", name=f"Deploy {CHOSEN}").click()
    preview = page.get_by_role("region", name="Where it would land")
    expect(preview.get_by_text("placed on here nvidia-")).to_be_visible()
    page.locator("mg-deploy-dialog").get_by_label("Context").fill("32768")
    expect(preview.get_by_text("32768 tokens")).to_be_visible()  # asked anew
    fleet.client.act_on_node("here", "cordon")  # so that it waits until somebody looks at its row
    page.locator("mg-deploy-dialog").get_by_role("button", name="Deploy", exact=True).click()
    page.get_by_role("link", name="Follow it").click()
    (made,) = fleet.deployments(CHOSEN)
    drawer = page.locator("mg-drawer")
    expect(drawer.get_by_role("heading", name=made["id"])).to_be_visible()
    expect(drawer.get_by_text("Pending", exact=True)).to_be_visible()
    row = page.locator("mg-deployments-active tbody tr").filter(has_text=made["id"])
    row.evaluate(WALK)
    fleet.client.act_on_node("here", "activate")
    expect(row.get_by_text("Running", exact=True)).to_be_visible()  # walked there by the stream
    expect(drawer.get_by_text("Running", exact=True)).to_be_visible()
    walked = page.evaluate("window.walked")
    assert [state for state in walked if state != "pulling"] == ["pending", "starting", "running"], walked
    page.goto("/models/deployed")
    expect(page.get_by_role("row").filter(has_text=CHOSEN).get_by_text("1 of 1")).to_be_visible()

    page.goto("/cluster/desired")
    target = page.get_by_role("row").filter(has_text=CHOSEN)
    target.get_by_role("button", name="Actions for").click()
    target.get_by_role("button", name="Scale…").click()
    page.get_by_label("Replicas").fill("2")
    page.locator("mg-scale-dialog").get_by_role("button", name="Scale").click()
    expect(page.locator("mg-scale-dialog")).to_have_count(0)
    expect(target.get_by_text("as desired")).to_be_visible()
    (scaled,) = [item for item in fleet.client.list_targets()["items"] if item["model"] == CHOSEN]
    assert (scaled["replicas"], scaled["spec"]["context"]) == (2, 32768)  # the settings stayed
    page.goto("/cluster/placements")
    expect(page.get_by_role("row").filter(has_text=CHOSEN).get_by_text("Running", exact=True)).to_have_count(2)
    page.set_viewport_size({"width": 390, "height": 844})  # each under the other, beside the name of the node
    lefts = {place.bounding_box()["x"] for place in page.get_by_role("link", name="Running").all()}  # type: ignore[index]
    assert len(lefts) == 1
    fleet.client.delete_target(CHOSEN)
    seen.nothing()
    page.context.close()
