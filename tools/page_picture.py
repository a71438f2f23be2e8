"""Takes docs/images/page.png, the page during the demo call, with a headless Chromium: python -m tools.page_picture"""

import asyncio
import base64
import re
import sys
from pathlib import Path

from tests.interop.test_page import browsing

TARGET = Path(__file__).parents[1] / "docs/images/page.png"
AFTER_S = 8.0  # from the first voice incident to the picture: the face's follows about two seconds later


async def main() -> None:
    command = [sys.executable, "-m", "monitor", "demo", "--set", "server.port=0", *sys.argv[1:]]
    demo = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    try:
        assert demo.stderr
        told = (await demo.stderr.readline()).decode()
        address = re.search(r"http://\S+", told)
        if address is None:
            sys.exit(told)
        async with browsing() as tab:
            await tab.tell("Emulation.setDeviceMetricsOverride", width=1280, height=690, deviceScaleFactor=1, mobile=False)
            await tab.tell("Page.navigate", url=address.group())
            await tab.text_until("Forged voice")
            await asyncio.sleep(AFTER_S)
            picture = await tab.tell("Page.captureScreenshot", format="png")
        TARGET.write_bytes(base64.b64decode(picture["data"]))
    finally:
        demo.terminate()
        await demo.wait()


if __name__ == "__main__":
    asyncio.run(main())
