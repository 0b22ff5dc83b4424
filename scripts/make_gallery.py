"""Make the pictures of the README's gallery, each by the script that it is linked to."""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from common import Help, run_script
from tqdm import tqdm

SCRIPTS = Path(__file__).parent
GALLERY = SCRIPTS / "gallery"
WIDTH = 960
"""The most pixels along either side."""

# What to run, and which of its pictures to take under which name.
PICTURES: list[tuple[list[str], dict[str, str]]] = [
    (["train_spiral.py"], {"decision_boundary.png": "spiral.png"}),
    (
        ["train_spiral.py", "--reference"],
        {"learning_rates.png": "learning-rates.png", "decision_boundaries.png": "learning-rate-planes.png"},
    ),
    (["train_xor.py", "--reference"], {"xor/decision_boundary.png": "xor.png"}),
    (["train_wdbc.py"], {"learning_curves.png": "wdbc.png"}),
    (["vanishing_gradients.py"], {"at_start.png": "vanishing-gradients.png"}),
    (["loss_landscape.py"], {"landscapes.png": "loss-landscapes.png", "surface_plain_20.png": "loss-surface.png"}),
    (["compare_activations.py"], {"accuracy.png": "activations.png"}),
    (["compare_initializers.py"], {"accuracy.png": "initializers.png"}),
    (["learned_features.py"], {"with_decay.png": "learned-features.png"}),
    (
        ["train_mnist.py", "--preset", "deep-narrow", "--epochs", "30"],
        {"weight_growth.png": "weight-growth.png", "worst_examples.png": "worst-examples.png"},
    ),
]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=f"{__doc__} Takes some minutes, and needs MNIST as train_mnist.py finds it.",
        epilog="example:\n  python scripts/make_gallery.py --out runs/gallery",
        formatter_class=Help,
    )
    parser.add_argument("--out", type=Path, default=GALLERY, help="folder for the pictures")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    bar = tqdm(PICTURES, "gallery", unit="script", disable=None)
    for (script, *options), pictures in bar:
        bar.set_postfix_str(script)
        with tempfile.TemporaryDirectory() as folder:
            more = [*options, "--backend", "numpy", "--out", folder, "--quiet"]
            command = [sys.executable, str(SCRIPTS / script), *more]
            finished = subprocess.run(command, capture_output=True, text=True)
            if finished.returncode:
                raise ChildProcessError(f"{script} failed: {finished.stderr.strip()}")
            for made, name in pictures.items():
                shrink(Path(folder) / made, args.out / name)
    print(f"written to {args.out}/: {', '.join(sorted(name for _, names in PICTURES for name in names.values()))}")


def shrink(picture: Path, to: Path) -> None:
    """Copy a picture as small as a web page needs it, with 256 colours."""
    from PIL import Image  # matplotlib brings it

    with Image.open(picture) as image:
        image.thumbnail((WIDTH, WIDTH))
        image.convert("RGB").quantize(256).save(to, optimize=True)


if __name__ == "__main__":
    run_script(main)
