"""Data sets and readers: toy problems, IDX files, the breast cancer table, MNIST and Fashion-MNIST."""

import functools
import gzip
import hashlib
import os
import re
import socket
import struct
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources

import numpy as np
import pytest

from mlp_xp import data
from mlp_xp.data import images

# ---- the package ----


def test_importing_the_data_room_imports_no_optional_package():
    optional = ("sklearn", "pooch", "requests", "tqdm")
    code = f"import sys, mlp_xp.data; print([name for name in {optional} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# ---- toy problems ----


@pytest.mark.parametrize(("gate", "truth"), [(data.xor, [0, 1, 1, 0]), (data.and_gate, [0, 0, 0, 1])])
def test_gates_list_their_rows_in_the_order_of_counting(gate, truth):
    X, y = gate()
    assert X.dtype == y.dtype == np.float64
    assert X.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert y.tolist() == [[t] for t in truth]


def test_gates_give_a_fresh_array_each_time():
    X, y = data.xor()
    X += 1
    y += 1
    assert data.xor()[0].max() == data.xor()[1].max() == 1


def test_the_spiral_is_the_published_one():
    X_train, y_train, X_test, y_test = data.spiral()
    assert X_train.dtype == X_test.dtype == np.float32
    assert X_train.shape == X_test.shape == (300, 2)
    np.testing.assert_array_equal(X_train[150], np.array([-0.20583816, 1.245735], np.float32))
    # The sums of the float32 coordinates, added up in float64.
    assert X_train.sum(dtype=np.float64) == pytest.approx(-31.07429793, abs=5e-9)
    assert X_test.sum(dtype=np.float64) == pytest.approx(-29.41031790, abs=5e-9)
    for y in (y_train, y_test):
        assert y.dtype == np.int64
        assert y.tolist() == [0] * 100 + [1] * 100 + [2] * 100


def test_the_spiral_takes_sizes_noise_and_seed():
    X_train, y_train, X_test, _ = data.spiral(points_per_class=7, classes=4, noise=0.0, seed=5)
    assert X_train.shape == (28, 2)
    assert np.bincount(y_train).tolist() == [7, 7, 7, 7]
    np.testing.assert_array_equal(X_train, X_test)  # without noise nothing tells them apart
    radius = np.hypot(X_train[:, 0], X_train[:, 1]).reshape(4, 7)
    np.testing.assert_allclose(radius, np.broadcast_to(np.linspace(0, 2.5, 7), (4, 7)), atol=1e-6)
    assert not np.array_equal(data.spiral(seed=1)[0], data.spiral(seed=2)[0])
    np.testing.assert_array_equal(data.spiral(seed=1)[2], data.spiral(seed=1)[2])


@pytest.mark.parametrize("sizes", [{"points_per_class": 0}, {"classes": 0}])
def test_the_spiral_refuses_empty_sizes(sizes):
    with pytest.raises(ValueError, match=r"at least 1, found .*0"):
        data.spiral(**sizes)


# ---- IDX ----


def idx_bytes(code, shape, content):
    return bytes([0, 0, code, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + content


# Code, struct letter, dtype expected, six values that need every byte and the sign.
ELEMENTS = [
    (0x08, "B", np.uint8, [0, 1, 2, 127, 128, 255]),
    (0x09, "b", np.int8, [0, 1, -1, 127, -128, 5]),
    (0x0B, "h", np.int16, [0, 1, -2, 258, 32767, -32768]),
    (0x0C, "i", np.int32, [0, 1, -2, 16909060, 2**31 - 1, -(2**31)]),
    (0x0D, "f", np.float32, [0.0, 1.0, -2.5, 0.1, 3e38, 1e-45]),
    (0x0E, "d", np.float64, [0.0, 1.0, -2.5, 0.1, 1e308, 5e-324]),
]


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["raw", "gz"])
@pytest.mark.parametrize(("code", "letter", "dtype", "values"), ELEMENTS)
def test_idx_reads_every_element_type(tmp_path, code, letter, dtype, values, compress):
    path = tmp_path / "some.file"  # the name says nothing about compression
    path.write_bytes(compress(idx_bytes(code, (2, 3), struct.pack(f">6{letter}", *values))))
    array = data.read_idx(path)
    np.testing.assert_array_equal(array, np.array(values, dtype).reshape(2, 3))
    assert array.dtype == np.dtype(dtype)
    assert array.dtype.isnative
    array[:] = 0  # writable


@pytest.mark.parametrize("shape", [(), (6,), (0,), (3, 0, 2), (1, 2, 3, 1, 1)])
def test_idx_reads_every_rank(tmp_path, shape):
    path = tmp_path / "ranks"
    path.write_bytes(idx_bytes(0x08, shape, bytes(range(int(np.prod(shape))))))
    assert data.read_idx(str(path)).shape == shape


def test_idx_goes_by_the_content_where_the_name_lies(tmp_path):
    content = idx_bytes(0x08, (2,), b"\7\x09")
    (tmp_path / "raw.gz").write_bytes(content)
    (tmp_path / "packed").write_bytes(gzip.compress(content))
    assert data.read_idx(tmp_path / "raw.gz").tolist() == data.read_idx(tmp_path / "packed").tolist() == [7, 9]


GOOD = idx_bytes(0x08, (2, 3), bytes(6))
PACKED = gzip.compress(GOOD)
BAD_IDX = {
    "empty": (b"", "at least 4 bytes, found 0"),
    "short header": (GOOD[:7], "cut short: a header of rank 2 has 12 bytes, found 7"),
    "truncated": (GOOD[:-1], r"cut short: uint8 \(2, 3\) takes 18 bytes, found 17"),
    "trailing": (GOOD + b"!", r"trailing bytes: uint8 \(2, 3\) takes 18 bytes, found 19"),
    "truncated inside gz": (gzip.compress(GOOD[:-1]), "cut short: .* takes 18 bytes, found 17"),
    "trailing inside gz": (gzip.compress(GOOD + b"!"), "trailing bytes: .* takes 18 bytes, found 19"),
    "bad magic": (b"<html>not found</html>", "begins with the bytes 00 00, found 3c 68"),
    "bad type": (idx_bytes(0x0A, (1,), b"1"), "unknown element type 0a .* 08, 09, 0b, 0c, 0d, 0e"),
    "gz cut short": (PACKED[:-9], f"damaged gzip file of {len(PACKED) - 9} bytes: "),
    "gz checksum": (PACKED[:-8] + bytes(4) + PACKED[-4:], "damaged gzip file .*CRC"),
    "gz stream": (PACKED[:10] + b"\xff" * 20, "damaged gzip file"),
    "gz trailing": (PACKED + b"rest", "damaged gzip file"),
    "rank 200": (idx_bytes(0x08, (1,) * 200, b"1"), "NumPy cannot hold"),
    "empty but huge": (idx_bytes(0x0E, (2**32 - 1,) * 3 + (0,), b""), "NumPy cannot hold"),
}


@pytest.mark.parametrize("case", BAD_IDX)
def test_a_bad_idx_file_is_named_with_its_trouble_and_the_remedy(tmp_path, case):
    content, trouble = BAD_IDX[case]
    path = tmp_path / "bad-idx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"bad-idx: .*{trouble}.*fetch it again"):
        data.read_idx(path)


def test_a_missing_idx_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        data.read_idx(tmp_path / "nowhere")


# ---- the breast cancer table ----

NUMBERS = [f"{n}.5" for n in range(30)]
ROW = ",".join(["77", "M", *NUMBERS])


def test_wdbc_is_the_published_table():
    X, y = data.wdbc()
    assert (X.shape, X.dtype) == ((569, 30), np.float64)
    assert (y.shape, y.dtype) == ((569,), np.int64)
    assert np.bincount(y).tolist() == [357, 212]  # benign, malignant
    assert np.isfinite(X).all()
    assert y[0] == 1
    assert X[0].tolist() == [
        *(17.99, 10.38, 122.8, 1001, 0.1184, 0.2776, 0.3001, 0.1471, 0.2419, 0.07871),
        *(1.095, 0.9053, 8.589, 153.4, 0.006399, 0.04904, 0.05373, 0.01587, 0.03003, 0.006193),
        *(25.38, 17.33, 184.6, 2019, 0.1622, 0.6656, 0.7119, 0.2654, 0.4601, 0.1189),
    ]
    assert y[-1] == 0
    assert X[-1, 0] == 7.76


def test_the_embedded_file_is_the_published_one_unchanged():
    content = (resources.files("mlp_xp.data") / "wdbc.csv").read_bytes().replace(b"\r\n", b"\n")
    published = "d606af411f3e5be8a317a5a8b652b425aaf0ff38ca683d5327ffff94c3695f4a"
    assert hashlib.sha256(content).hexdigest() == published


def test_wdbc_is_the_table_that_scikit_learn_has():
    sklearn = pytest.importorskip("sklearn.datasets").load_breast_cancer()
    X, y = data.wdbc()
    np.testing.assert_array_equal(X, sklearn.data)
    np.testing.assert_array_equal(y, 1 - sklearn.target)  # there 1 is benign


def test_the_features_are_named_mean_then_error_then_worst():
    assert len(set(data.FEATURES)) == 30
    assert data.FEATURES[:2] == ("radius_mean", "texture_mean")
    assert data.FEATURES[10] == "radius_se"
    assert data.FEATURES[20] == "radius_worst"
    assert data.FEATURES[-1] == "fractal_dimension_worst"


def test_wdbc_reads_another_file_of_the_format(tmp_path):
    path = tmp_path / "data.csv"
    # Byte order mark, Windows line ends, blanks around a value, an empty line: what spreadsheets leave.
    path.write_bytes(f"\ufeff{ROW}\r\n\r\n{ROW.replace('M', ' B ')}\r\n".encode())
    X, y = data.wdbc(path)
    assert y.tolist() == [1, 0]
    assert X.tolist() == [[float(n) for n in NUMBERS]] * 2


BAD_LINES = {
    "too few columns": (ROW.rsplit(",", 1)[0], "31 columns, expected 32"),
    "too many columns": (ROW + ",1", "33 columns, expected 32"),
    "diagnosis": (ROW.replace("M", "m"), "the diagnosis is 'm', expected M or B"),
    "a missing value": (ROW.replace("1.5,2.5", "1.5,?"), r"column 5 \(perimeter_mean\) is '\?'"),
    "a word": (ROW.replace(",2.5", ",big"), r"column 5 \(perimeter_mean\) is 'big'"),
    "an empty cell": (ROW.replace(",29.5", ","), r"column 32 \(fractal_dimension_worst\) is ''"),
    "infinity": (ROW.replace(",0.5", ",inf"), r"column 3 \(radius_mean\) is 'inf', expected a finite"),
    "undecodable": (ROW.replace(",0.5", ",\udcff"), r"column 3 \(radius_mean\) is '\ufffd'"),
    "not a number": (ROW.replace(",0.5", ",nan"), r"column 3 \(radius_mean\) is 'nan', expected a finite"),
}


@pytest.mark.parametrize("case", BAD_LINES)
def test_a_bad_line_is_named_by_file_and_number(tmp_path, case):
    line, trouble = BAD_LINES[case]
    path = tmp_path / "data.csv"
    path.write_bytes(f"{ROW}\n\n{line}\n{ROW}\n".encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=rf"data\.csv, line 3: {trouble}"):
        data.wdbc(path)


def test_a_file_with_no_rows_or_no_file_at_all_is_named(tmp_path):
    (tmp_path / "data.csv").write_text("\n")
    with pytest.raises(ValueError, match=r"data\.csv: no rows"):
        data.wdbc(tmp_path / "data.csv")
    with pytest.raises(FileNotFoundError, match=r"other\.csv: no such file.*without a path"):
        data.wdbc(tmp_path / "other.csv")


# ---- MNIST and Fashion-MNIST, with small files of the test's own under the published names ----

PUBLISHED = (images.MNIST, images.FASHION_MNIST)
DATA_FOLDER = os.environ.get("MLP_XP_DATA")
NAMES = [file.name for file in images.MNIST.files]


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def small_set(offset):
    """Four arrays in the layout of MNIST, and the raw bytes of their IDX files."""
    arrays = [np.arange(n, dtype=np.uint8) + offset for n in (5 * 2 * 3, 5, 2 * 2 * 3, 2)]
    shapes = [(5, 2, 3), (5,), (2, 2, 3), (2,)]
    arrays = [np.uint8(a).reshape(s) for a, s in zip(arrays, shapes, strict=True)]
    return arrays, {n: idx_bytes(8, a.shape, a.tobytes()) for n, a in zip(NAMES, arrays, strict=True)}


DIGITS, DIGIT_FILES = small_set(0)
CLOTHES, CLOTHES_FILES = small_set(100)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """No test sees the user's own folders or the network, and both sets consist of small files."""
    for name in ("HOME", "USERPROFILE", "LOCALAPPDATA", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.delenv("MLP_XP_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name, contents in (("MNIST", DIGIT_FILES), ("FASHION_MNIST", CLOTHES_FILES)):
        files = tuple(images.File(n, gz=sha256(pack(c)), raw=sha256(c)) for n, c in contents.items())
        published = getattr(images, name)
        monkeypatch.setattr(images, name, published._replace(files=files, mirrors=(dead_mirror(),)))
    return tmp_path / "home"


def pack(content):
    return gzip.compress(content, mtime=0)


def put(folder, contents, packed=True):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        if packed:
            (folder / f"{name}.gz").write_bytes(pack(content))
        else:
            (folder / name).write_bytes(content)
    return folder


def dead_mirror():
    """The address of a port at which nobody listens."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{s.getsockname()[1]}/"


@pytest.fixture
def serve():
    """serve(folder) -> address of a local server with the folder's files, and the list of paths asked for."""
    pytest.importorskip("pooch")
    servers = []

    def start(folder):
        asked = []

        class Handler(SimpleHTTPRequestHandler):
            def log_request(self, *args):
                asked.append(self.path)

            def log_message(self, *args):
                pass  # not to stderr

        server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}/", asked

    yield start
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


def use_mirrors(monkeypatch, *mirrors):
    monkeypatch.setattr(images, "MNIST", images.MNIST._replace(mirrors=mirrors))


def assert_same(found, expected):
    assert len(found) == 4
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == np.uint8


@pytest.mark.parametrize("packed", [True, False], ids=["gz", "raw"])
@pytest.mark.parametrize("subfolder", ["mnist", "."])
def test_images_are_found_in_a_folder(tmp_path, subfolder, packed):
    put(tmp_path / "here" / subfolder, DIGIT_FILES, packed)
    assert_same(data.mnist(tmp_path / "here"), DIGITS)
    assert_same(data.mnist(str(tmp_path / "here"), download=False), DIGITS)


def test_images_are_found_in_the_folder_that_the_environment_names(tmp_path, monkeypatch):
    put(tmp_path / "named" / "mnist", DIGIT_FILES)
    put(tmp_path / "named" / "fashion-mnist", CLOTHES_FILES)
    monkeypatch.setenv("MLP_XP_DATA", str(tmp_path / "named"))
    assert_same(data.mnist(), DIGITS)
    assert_same(data.fashion_mnist(), CLOTHES)


def test_images_are_found_in_the_cache_folder_even_one_by_one(tmp_path, monkeypatch):
    put(images.cache_folder() / "mnist", dict(list(DIGIT_FILES.items())[:2]))
    put(tmp_path / "named", dict(list(DIGIT_FILES.items())[2:]), packed=False)
    monkeypatch.setenv("MLP_XP_DATA", str(tmp_path / "named"))
    assert_same(data.mnist(), DIGITS)


def test_the_argument_goes_before_the_environment_and_that_before_the_cache(tmp_path, monkeypatch):
    damaged = dict.fromkeys(NAMES, b"damaged")
    put(images.cache_folder() / "mnist", damaged)
    put(tmp_path / "named" / "mnist", DIGIT_FILES)
    monkeypatch.setenv("MLP_XP_DATA", str(tmp_path / "named"))
    assert_same(data.mnist(), DIGITS)
    put(tmp_path / "named" / "mnist", damaged)
    put(tmp_path / "argument", DIGIT_FILES)
    assert_same(data.mnist(tmp_path / "argument"), DIGITS)


@pytest.mark.parametrize(
    ("platform", "expected"),
    [("linux", "xdg/mlp_xp"), ("darwin", "home/Library/Caches/mlp_xp"), ("win32", "local/mlp_xp")],
)
def test_the_cache_folder_is_the_one_of_the_operating_system(tmp_path, monkeypatch, platform, expected):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    monkeypatch.setattr(images.sys, "platform", platform)
    assert images.cache_folder() == tmp_path / expected


def test_the_cache_folder_on_linux_has_a_default(home, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(images.sys, "platform", "linux")
    assert images.cache_folder() == home / ".cache" / "mlp_xp"


def test_a_folder_without_the_files_is_an_error_that_names_them_and_never_a_fall_back(tmp_path):
    put(images.cache_folder() / "mnist", DIGIT_FILES)
    put(tmp_path / "here" / "mnist", dict(list(DIGIT_FILES.items())[:1]))
    with pytest.raises(FileNotFoundError) as caught:
        data.mnist(tmp_path / "here")
    first, looked = str(caught.value).splitlines()[:2]
    assert NAMES[0] not in first
    assert all(f"{name}.gz" in first for name in NAMES[1:])
    assert looked == f"Looked in: {tmp_path / 'here' / 'mnist'}, {tmp_path / 'here'}"


@pytest.mark.parametrize("packed", [True, False], ids=["gz", "raw"])
def test_a_wrong_checksum_names_the_file_both_sums_and_the_remedy(tmp_path, packed):
    put(tmp_path, DIGIT_FILES, packed)
    wrong = tmp_path / (f"{NAMES[2]}.gz" if packed else NAMES[2])
    wrong.write_bytes(b"something else")
    file = images.MNIST.files[2]
    with pytest.raises(ValueError, match="delete it and fetch it again") as caught:
        data.mnist(tmp_path)
    for part in (str(wrong), file.gz, file.raw, sha256(b"something else")):
        assert part in str(caught.value)


@pytest.mark.parametrize("packed", [True, False], ids=["gz", "raw"])
def test_the_files_of_the_other_set_are_recognised(tmp_path, packed):
    put(tmp_path, CLOTHES_FILES, packed)
    with pytest.raises(ValueError, match=r"belongs to Fashion-MNIST: keep it in a folder fashion-mnist"):
        data.mnist(tmp_path)
    assert_same(data.fashion_mnist(tmp_path), CLOTHES)


def test_a_dead_mirror_is_passed_over_once_and_the_next_one_used(tmp_path, monkeypatch, serve, capsys):
    empty, asked_empty = serve(put(tmp_path / "empty", {}))
    full, asked_full = serve(put(tmp_path / "full", DIGIT_FILES))
    use_mirrors(monkeypatch, dead_mirror(), empty, full)
    assert_same(data.mnist(), DIGITS)
    assert asked_empty == [f"/{NAMES[0]}.gz"]  # not once more for each file
    assert asked_full == [f"/{name}.gz" for name in NAMES]
    assert "100%" in capsys.readouterr().err  # the progress bar
    in_cache = sorted(path.name for path in (images.cache_folder() / "mnist").iterdir())
    assert in_cache == sorted(f"{name}.gz" for name in NAMES)

    use_mirrors(monkeypatch, dead_mirror())
    assert_same(data.mnist(), DIGITS)  # from the cache folder this time


def test_only_what_is_missing_is_downloaded(tmp_path, monkeypatch, serve):
    url, asked = serve(put(tmp_path / "full", DIGIT_FILES))
    use_mirrors(monkeypatch, url)
    put(tmp_path / "named", dict(list(DIGIT_FILES.items())[:3]))
    monkeypatch.setenv("MLP_XP_DATA", str(tmp_path / "named"))
    assert_same(data.mnist(), DIGITS)
    assert asked == [f"/{NAMES[3]}.gz"]


def test_a_download_with_the_wrong_checksum_is_refused_and_not_kept(tmp_path, monkeypatch, serve):
    url, _ = serve(put(tmp_path / "wrong", {**DIGIT_FILES, NAMES[1]: b"something else"}))
    use_mirrors(monkeypatch, url)
    with pytest.raises(ConnectionError) as caught:
        data.mnist()
    text = str(caught.value)
    assert text.startswith(f"MNIST is not complete. Missing: {NAMES[1]}.gz, {NAMES[2]}.gz, {NAMES[3]}.gz\n")
    assert f"{url}{NAMES[1]}.gz: SHA256 hash" in text
    assert images.MNIST.files[1].gz in text
    assert sha256(pack(b"something else")) in text
    assert [path.name for path in (images.cache_folder() / "mnist").iterdir()] == [f"{NAMES[0]}.gz"]

    good, asked = serve(put(tmp_path / "good", DIGIT_FILES))
    use_mirrors(monkeypatch, url, good)
    assert_same(data.mnist(), DIGITS)
    assert asked == [f"/{name}.gz" for name in NAMES[1:]]  # what had arrived whole is not fetched again


def test_offline_the_error_says_which_files_go_where(tmp_path, monkeypatch):
    pytest.importorskip("pooch")
    monkeypatch.setenv("MLP_XP_DATA", str(tmp_path / "named"))
    first, second = dead_mirror(), dead_mirror()
    use_mirrors(monkeypatch, first, second)
    with pytest.raises(ConnectionError) as caught:
        data.mnist()
    text = str(caught.value)
    cache = images.cache_folder()
    looked = f"Looked in: {tmp_path / 'named' / 'mnist'}, {tmp_path / 'named'}, {cache / 'mnist'}, {cache}"
    assert looked in text
    assert "The download failed:" in text
    assert re.search(rf"  {re.escape(first)}{NAMES[0]}\.gz: .+\n  {re.escape(second)}{NAMES[0]}\.gz: .+", text)
    advice = text[text.index("put these files") :]
    assert f"in the folder mnist of a folder that MLP_XP_DATA names, or in {cache / 'mnist'}:" in advice
    assert all(f"\n  {name}.gz" in advice for name in NAMES)


def test_without_pooch_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(FileNotFoundError, match=r"pip install pooch") as caught:
        data.fashion_mnist()
    assert str(images.cache_folder() / "fashion-mnist") in str(caught.value)


def test_without_download_nothing_is_asked_of_the_network(tmp_path, monkeypatch, serve):
    url, asked = serve(put(tmp_path / "full", DIGIT_FILES))
    use_mirrors(monkeypatch, url)
    with pytest.raises(FileNotFoundError, match="switched off"):
        data.mnist(download=False)
    assert asked == []
    assert not images.cache_folder().exists()


# ---- the real files, where they lie on this machine ----


@pytest.fixture
def real(home, monkeypatch):
    """real(load) -> what load() finds in the folder that MLP_XP_DATA names; skips the test without it."""
    if not DATA_FOLDER:
        pytest.skip("MLP_XP_DATA is not set")
    monkeypatch.setattr(images, "MNIST", PUBLISHED[0])
    monkeypatch.setattr(images, "FASHION_MNIST", PUBLISHED[1])

    def load(function):
        try:
            return function(DATA_FOLDER)
        except FileNotFoundError as error:
            pytest.skip(str(error).splitlines()[0])

    return load


def test_real_mnist(real):
    X_train, y_train, X_test, y_test = real(data.mnist)
    assert (X_train.shape, X_train.dtype) == ((60000, 28, 28), np.uint8)
    assert (X_test.shape, X_test.dtype) == ((10000, 28, 28), np.uint8)
    assert np.bincount(y_train).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(y_test).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert (X_train.min(), X_train.max()) == (0, 255)


def test_real_fashion_mnist(real):
    X_train, y_train, X_test, y_test = real(data.fashion_mnist)
    assert (X_train.shape, X_train.dtype) == ((60000, 28, 28), np.uint8)
    assert (X_test.shape, X_test.dtype) == ((10000, 28, 28), np.uint8)
    assert np.bincount(y_train).tolist() == [6000] * 10
    assert np.bincount(y_test).tolist() == [1000] * 10


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_real_files_are_read_decompressed_too(tmp_path, real, name):
    load = getattr(data, name)
    arrays = real(load)
    # The content of a published file follows from its array, so this holds the second column of checksums.
    for file, array in zip(NAMES, arrays, strict=True):
        (tmp_path / file).write_bytes(idx_bytes(0x08, array.shape, array.tobytes()))
    for a, b in zip(load(tmp_path), arrays, strict=True):
        np.testing.assert_array_equal(a, b)
