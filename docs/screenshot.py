"""Take the picture of the explorer that README.md shows.

python docs/screenshot.py       needs Chromium
"""

import shutil
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
PAGE, PICTURE = ROOT / "figures/yt8m/explorer.html", ROOT / "docs/explorer.png"
SIZE, LABEL = {"width": 1200, "height": 900}, "Guitar"


def take() -> None:
    """Search the committed explorer for a label, ask with a clip, and keep what is seen."""
    with sync_playwright() as playwright:
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport=SIZE, color_scheme="light", device_scale_factor=2)
        tab.goto(PAGE.as_uri())
        tab.fill("#word", LABEL)
        for row in range(30):  # up to a clip that shows what a true match looks like
            tab.click(f"#matches button >> nth={row}")
            tab.wait_for_selector("#found li")
            if "true match" in tab.inner_text("#found"):
                break
            tab.fill("#word", LABEL)
        tab.wait_for_timeout(500)  # the map is drawn
        picture = Image.open(BytesIO(tab.screenshot()))
        browser.close()
    picture.convert("RGB").quantize(256, kmeans=8).save(PICTURE, optimize=True)  # half the size


if __name__ == "__main__":
    take()
