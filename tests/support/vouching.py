"""Items that say what their files hold."""

import hashlib
import json
from pathlib import Path


def vouch(item: Path) -> None:
    """Let an item state the checksum of each of its files."""
    document = json.loads(item.read_text(encoding="utf-8"))
    for asset in document.get("assets", {}).values():
        digest = hashlib.sha256((item.parent / asset["href"]).read_bytes()).hexdigest()
        asset["file:checksum"] = f"1220{digest}"
    item.write_text(json.dumps(document), encoding="utf-8")
