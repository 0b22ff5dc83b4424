"""JSON files whose numbers may be NaN or infinite."""

import json
import math
from pathlib import Path
from typing import Any


def write_json(path: str | Path, content: Any) -> None:
    """Write it indented; JSON has no NaN and no infinity: null stands for them."""
    text = json.dumps(finite_or_null(content), indent=2, allow_nan=False)
    Path(path).write_text(text + "\n", encoding="utf-8")


def read_json(path: str | Path) -> dict[str, Any]:
    """What `write_json` wrote; ValueError that names the file where it is damaged."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged: it holds no object, but {type(content).__name__}")
    return content


def finite_or_null(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: finite_or_null(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite_or_null(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
