"""MNIST and Fashion-MNIST: found on disk, or downloaded once into the user's cache folder.

MNIST: Y. LeCun, C. Cortes and C. J. C. Burges, "The MNIST database of handwritten digits"; described in Y.
LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-based learning applied to document recognition", Proc.
IEEE 86(11):2278-2324, 1998. Licence: Creative Commons Attribution-ShareAlike 3.0.

Fashion-MNIST: H. Xiao, K. Rasul and R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking
Machine Learning Algorithms", arXiv:1708.07747, 2017. Licence: MIT, copyright (c) 2017 Zalando SE.
"""

import hashlib
import os
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .idx import read_idx

Images = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]


class File(NamedTuple):
    """One published file: its name without .gz, and the SHA-256 of the gzip file and of its content."""

    name: str
    gz: str
    raw: str


class Source(NamedTuple):
    """One data set: its folder under a data folder, its mirrors in the order to try, and its four files."""

    title: str
    folder: str
    mirrors: tuple[str, ...]
    files: tuple[File, ...]  # training images and labels, test images and labels


MNIST = Source(
    title="MNIST",
    folder="mnist",
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    files=(
        File(
            "train-images-idx3-ubyte",
            gz="440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            raw="ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        File(
            "train-labels-idx1-ubyte",
            gz="3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            raw="65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
        File(
            "t10k-images-idx3-ubyte",
            gz="8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            raw="0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        File(
            "t10k-labels-idx1-ubyte",
            gz="f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            raw="ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
)

FASHION_MNIST = Source(
    title="Fashion-MNIST",
    folder="fashion-mnist",
    mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
    files=(
        File(
            "train-images-idx3-ubyte",
            gz="3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            raw="c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        ),
        File(
            "train-labels-idx1-ubyte",
            gz="a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            raw="bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        ),
        File(
            "t10k-images-idx3-ubyte",
            gz="346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            raw="5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        ),
        File(
            "t10k-labels-idx1-ubyte",
            gz="67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            raw="0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
)


def mnist(folder: str | os.PathLike[str] | None = None, download: bool = True) -> Images:
    """MNIST: 28 x 28 grey images of handwritten digits and the digits they show.

    Returns X_train (60000, 28, 28), y_train (60000,), X_test (10000, 28, 28), y_test (10000,), all uint8,
    with pixels from 0 to 255.

    The four IDX files, compressed or not, are looked for in `folder` if given, and nowhere else then;
    otherwise in the folder that the environment variable MLP_XP_DATA names, then in the user's cache
    folder: in the subfolder `mnist` first, then in the folder itself. What is in neither is downloaded into
    the cache folder, with pooch (`pip install pooch`), unless `download` is false. Every file
    is held against its known checksum.

    Raises FileNotFoundError when files are missing and may not be downloaded (or pooch is not installed),
    ConnectionError when every mirror failed, and ValueError when a file has the wrong checksum. Each says
    what to do.
    """
    return _load(MNIST, folder, download)


def fashion_mnist(folder: str | os.PathLike[str] | None = None, download: bool = True) -> Images:
    """Fashion-MNIST: 28 x 28 grey images of clothes in ten classes, in the format of MNIST.

    The classes 0 to 9 are T-shirt/top, trouser, pullover, dress, coat, sandal, shirt, sneaker, bag and
    ankle boot.

    Returns X_train (60000, 28, 28), y_train (60000,), X_test (10000, 28, 28), y_test (10000,), all uint8,
    with pixels from 0 to 255. The files are looked for, downloaded and checked as `mnist` says, and the
    errors are the same; the subfolder is `fashion-mnist`.
    """
    return _load(FASHION_MNIST, folder, download)


def cache_folder() -> Path:
    """Where downloads are kept: the folder `mlp_xp` in the user's cache folder of the operating system."""
    if sys.platform == "win32":
        root = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        root = Path.home() / "Library" / "Caches"
    else:
        root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "mlp_xp"


def _load(source: Source, folder: str | os.PathLike[str] | None, download: bool) -> Images:
    if folder is not None:
        roots = [Path(folder).expanduser()]
    elif named := os.environ.get("MLP_XP_DATA"):
        roots = [Path(named).expanduser(), cache_folder()]
    else:
        roots = [cache_folder()]
    places = [place for root in roots for place in (root / source.folder, root)]

    paths = {}
    for file in source.files:
        if found := _find(file, places):
            _verify(source, file, found)  # before anything is downloaded: a damaged file is reported first
            paths[file.name] = found
    missing = [file for file in source.files if file.name not in paths]
    if missing:
        if folder is not None:
            raise FileNotFoundError(_advice(source, missing, places, roots[0]))
        if not download:
            raise FileNotFoundError(_advice(source, missing, places, why="Downloading was switched off."))
        paths |= _download(source, missing, places)

    X_train, y_train, X_test, y_test = (read_idx(paths[file.name]) for file in source.files)
    return X_train, y_train, X_test, y_test


def _find(file: File, places: list[Path]) -> Path | None:
    candidates = (place / name for place in places for name in (f"{file.name}.gz", file.name))
    return next((path for path in candidates if path.is_file()), None)


def _verify(source: Source, file: File, path: Path) -> None:
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found in (file.gz, file.raw):
        return
    # Both data sets use the same four names, so the likeliest mistake is the other one's folder.
    others = [other for other in (MNIST, FASHION_MNIST) if other is not source]
    owner = next((other for other in others for known in other.files if found in (known.gz, known.raw)), None)
    if owner:
        remedy = f"It belongs to {owner.title}: keep it in a folder {owner.folder}, or name another folder"
    else:
        remedy = "It is damaged or not the published file: delete it and fetch it again"
    raise ValueError(
        f"{path} is not {source.title}'s file of this name. {remedy}.\n"
        f"SHA-256 expected: {file.gz} (gzip) or {file.raw} (decompressed)\n"
        f"SHA-256 found:    {found}"
    )


def _download(source: Source, missing: list[File], places: list[Path]) -> dict[str, Path]:
    """Download the missing files into the cache folder, each from the first mirror that delivers it whole."""
    try:
        import pooch  # only here: finding and reading files needs no downloader
    except ImportError as error:
        why = "Downloading needs pooch: pip install pooch"
        raise FileNotFoundError(_advice(source, missing, places, why=why)) from error

    into = cache_folder() / source.folder
    paths = {file.name: into / f"{file.name}.gz" for file in missing}
    failures = []
    # Mirrors outside, files inside: a dead mirror costs one timeout. What one mirror delivered whole stays,
    # and pooch does not ask the next one for it.
    for mirror in source.mirrors:
        url = mirror
        try:
            for file in missing:
                url = f"{mirror}{file.name}.gz"
                pooch.retrieve(url, f"sha256:{file.gz}", f"{file.name}.gz", into, progressbar=True)
            return paths
        except (OSError, ValueError) as error:  # no answer, an error status, a full disk; a wrong checksum
            failures.append(f"  {url}: {error}")
    missing = [file for file in missing if not paths[file.name].exists()]
    why = "\n".join(["The download failed:", *failures])
    raise ConnectionError(_advice(source, missing, places, why=why))


def _advice(source: Source, missing: list[File], places: list[Path], into: Path | None = None, why: str = "") -> str:
    """What is missing, where it was looked for, why it was not downloaded, and which files to put where."""
    if into is None:
        where = f"the folder {source.folder} of a folder that MLP_XP_DATA names, or in {places[-2]}"
    else:
        where = f"{into / source.folder} or {into}, or leave out the folder to have them downloaded"
    lines = [
        f"{source.title} is not complete. Missing: {', '.join(f'{file.name}.gz' for file in missing)}",
        f"Looked in: {', '.join(map(str, places))}",
        why,
        f"To provide them by hand, put these files (.gz, or decompressed without .gz) in {where}:",
        *(f"  {file.name}.gz" for file in source.files),
        f"They are published at {' and '.join(source.mirrors)}",
    ]
    return "\n".join(line for line in lines if line)
