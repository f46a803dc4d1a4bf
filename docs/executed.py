"""Executed notebooks -> copies small enough to commit: `python docs/executed.py FROM TO`.

Progress bars, times and widget states go, a widget is its picture, and pictures lose colors, then
size, until a notebook is no larger than LIMIT bytes. A path of this machine in one is an error."""

import base64
import io
import json
import re
import sys
from pathlib import Path

from PIL import Image

LIMIT = 400_000
WIDGET = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"
ROOT = Path(__file__).resolve().parent.parent


def pictures(model: str, states: dict) -> list[str]:
    """PNGs (base64) in a widget and in what it holds."""
    state = states.get(model, {"state": {}})
    held = re.findall(r"IPY_MODEL_(\w+)", json.dumps(state["state"].get("children", [])))
    if state.get("model_name") == "ImageModel":
        return [buffer["data"] for buffer in state.get("buffers", []) if buffer["data"]]
    return [png for each in held for png in pictures(each, states)]


def kept(output: dict, states: dict) -> list[dict]:
    """What is kept of an output."""
    if WIDGET not in output.get("data", {}):
        return [output]
    found = pictures(output["data"][WIDGET]["model_id"], states)
    picture = {"output_type": "display_data", "metadata": {}}
    return [picture | {"data": {"image/png": png, "text/plain": "<Figure>"}} for png in found]


def smaller(png: str, scale: float) -> str:
    """A PNG (base64) of 128 colors, scaled."""
    image = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    size = tuple(max(1, round(scale * side)) for side in image.size)
    image = image.resize(size, Image.Resampling.LANCZOS).quantize(128, dither=Image.Dither.NONE)
    image.save(file := io.BytesIO(), "PNG", optimize=True)
    return min(base64.b64encode(file.getvalue()).decode(), png, key=len)


def small(text: str) -> str:
    """The notebook without what nobody reads, within LIMIT."""
    book = json.loads(text)
    states = book["metadata"].pop("widgets", {}).get(STATE, {}).get("state", {})
    for cell in book["cells"]:
        cell["metadata"].pop("execution", None)
        if "outputs" in cell:
            cell["outputs"] = [o for output in cell["outputs"] for o in kept(output, states)]
    datas = [o.get("data", {}) for cell in book["cells"] for o in cell.get("outputs", [])]
    originals = [(data, "".join(data["image/png"])) for data in datas if "image/png" in data]
    for scale in (None, 1.0, 0.8, 0.65, 0.5):
        for data, png in originals if scale else ():
            data["image/png"] = smaller(png, scale)
        text = json.dumps(book, indent=1, ensure_ascii=False) + "\n"
        text = re.sub(r"/tmp/ipykernel_\d+/\d+\.py:", "cell, line ", text)
        text = text.replace(f"{ROOT}/", "")
        if len(text.encode()) <= LIMIT:
            break
    return text


def main(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.glob("[0-9]*.ipynb")):
        text = small(path.read_text())
        for place in (str(ROOT), str(Path.home()), "/tmp/"):
            if place != "/" and place in text:
                raise SystemExit(f"{path}: {place} is a path of this machine")
        if (size := len(text.encode())) > LIMIT:
            raise SystemExit(f"{path}: {size} bytes, more than {LIMIT}")
        (target / path.name).write_text(text)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
