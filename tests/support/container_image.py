"""The files of a small container image, taken from this machine: Python, a shell and a few programs. No network.

Each program is there under the path that it has here, with the libraries that ldd(1) names. Of Python's library there
is what needs no further library. A file of the image is a copy: nothing in a container can change this machine's.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PROGRAMS: Final = ("sh", "cat", "chmod", "env", "head", "id", "kill", "ls", "mkdir", "nohup", "setsid", "sleep", "true")
PYTHON: Final = "/usr/bin/python3"
"""Python in the image."""

_LEFT_OUT: Final = frozenset(
    {"test", "tests", "idlelib", "lib2to3", "tkinter", "turtledemo", "ensurepip", "distutils", "pydoc_data"}
    | {"site-packages", "dist-packages", "lib-dynload", "__pycache__", "__phello__"}
)
_FOLDERS: Final = ("bin", "dev", "etc", "home", "lib", "lib64", "proc", "run", "sys", "tmp", "usr", "usr/bin", "var")
_LIBRARIES: Final = ("libc.", "libm.", "libdl.", "libpthread.", "ld-", "libpython")
_ACCOUNTS: Final = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n"


def write_image(path: Path, *, programs: Iterable[str] = ()) -> None:
    """Write the image's root folder as a tar archive, for `podman import` or `docker import`.

    ``programs`` are more programs of this machine, by name or path. Raises FileNotFoundError where one is not there.
    """
    with tarfile.open(path, "w") as archive:
        image = _Image(archive)
        for name in _FOLDERS:
            image.folder(f"/{name}", 0o1777 if name == "tmp" else 0o755)
        image.data("/etc/passwd", _ACCOUNTS)
        image.data("/etc/group", b"root:x:0:\nnogroup:x:65534:\n")
        for program in (*PROGRAMS, *programs):
            image.program(program)
        _add_python(image, path.with_suffix(".zip"))


class _Image:
    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive
        self._names: set[str] = set()

    def folder(self, path: str, mode: int = 0o755) -> None:
        if path != "/" and self._is_new(path):
            self.folder(str(Path(path).parent))
            info = tarfile.TarInfo(path.lstrip("/"))
            info.type, info.mode = tarfile.DIRTYPE, mode
            self._archive.addfile(info)

    def data(self, path: str, data: bytes, mode: int = 0o644) -> None:
        if self._is_new(path):
            self.folder(str(Path(path).parent))
            info = tarfile.TarInfo(path.lstrip("/"))
            info.size, info.mode = len(data), mode
            self._archive.addfile(info, io.BytesIO(data))

    def link(self, path: str, target: str) -> None:
        if self._is_new(path):
            self.folder(str(Path(path).parent))
            info = tarfile.TarInfo(path.lstrip("/"))
            info.type, info.linkname = tarfile.SYMTYPE, target
            self._archive.addfile(info)

    def program(self, name: str) -> None:
        """Add a program and its libraries, under its own path and as /bin/NAME and /usr/bin/NAME."""
        path = shutil.which(name)
        if path is None:
            raise FileNotFoundError(f"cannot make the image: there is no program {name}")
        self.file(path)
        for folder in ("/bin", "/usr/bin"):
            if str(Path(path).parent) != folder:
                self.link(f"{folder}/{Path(path).name}", path)
        self.libraries(path)

    def libraries(self, path: str) -> None:
        for library in _libraries(path):
            self.file(library)

    def file(self, path: str, *, mode: int = 0o755) -> None:
        self.data(path, Path(path).read_bytes(), mode)

    def _is_new(self, path: str) -> bool:
        is_new = path not in self._names
        self._names.add(path)
        return is_new


def _libraries(path: str) -> Iterator[str]:
    """Yield the libraries of a program or library; none for a script or a static program, which ldd refuses."""
    found = subprocess.run(["ldd", path], capture_output=True, text=True, check=False)
    for line in found.stdout.splitlines():
        words = line.replace("=>", " ").split()
        yield from (word for word in words[:2] if word.startswith("/"))


def _add_python(image: _Image, scratch: Path) -> None:
    """Add Python where it is installed here, with its library as one archive of compiled modules: few files to copy."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    program = str(Path(sys.base_prefix, "bin", version))
    library = Path(sysconfig.get_path("stdlib"))
    image.file(program)
    image.libraries(program)
    for link in (PYTHON, "/usr/bin/python", f"/usr/bin/{version}", "/bin/python3"):
        if link != program:
            image.link(link, program)
    with zipfile.PyZipFile(str(scratch), "w") as modules:
        for entry in sorted(library.iterdir()):
            if entry.name not in _LEFT_OUT and (entry.suffix == ".py" or (entry / "__init__.py").is_file()):
                modules.writepy(str(entry), filterfunc=lambda name: _LEFT_OUT.isdisjoint(Path(name).parts[-2:]))
    image.data(str(library.parent / f"{version.replace('.', '')}.zip"), scratch.read_bytes())
    scratch.unlink()
    image.file(str(library / "os.py"), mode=0o644)  # by which Python finds its library (Modules/getpath.py)
    for extension in sorted((library / "lib-dynload").glob("*.so")):
        if all(Path(name).name.startswith(_LIBRARIES) for name in _libraries(str(extension))):
            image.file(str(extension))
    image.folder(str(library / "lib-dynload"))
