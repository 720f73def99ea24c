"""Base images where no registry can be reached: made from Debian's packages, under the very names that ours use.

An image of that name that is there already, pulled or made before, is taken as it is.
"""

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from support.containers.host import apt_options, debian_mirror, go_root, rust_root
from support.containers.podman import image_exists, inspect, podman

RECIPES = Path(__file__).resolve().parents[2] / "containers" / "stand_ins"
BASE = "localhost/nnpm-stand-in/bookworm"
LABEL = "nnpm.stand-in"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def provide(image: str) -> None:
    """See to it that `image` (`docker.io/library/NAME:TAG`) is there."""
    name = image.partition("@")[0].rpartition("/")[2].partition(":")[0]
    recipe = RECIPES / name
    assert recipe.is_dir(), f"there is no recipe for a stand-in for {image}"
    assert "@" not in image, f"{image} is pinned: only its registry has it"
    wanted = _digest(recipe)
    if image_exists(image):
        made_from = (inspect("image", image)["Labels"] or {}).get(LABEL)
        if made_from in (None, wanted):
            return
    provide_base()
    context = {"golang": go_root, "rust": rust_root}.get(name, lambda: recipe)()
    podman(
        *("build", "--quiet", "--pull=never", "--label", f"{LABEL}={wanted}"),
        *("--file", recipe / "Containerfile", "--tag", image, context),
        timeout=600,
    )


def no_container_starts() -> str:
    """Why not even a bare Debian runs here (no mirror, a machine that forbids namespaces, ...); "" when it does."""
    try:
        provide_base()
        podman("run", "--rm", "--network", "none", BASE, "true")
    except (AssertionError, subprocess.SubprocessError) as error:
        return f"no container starts here: {' '.join(str(error).split())[:300]}"
    return ""


def provide_base() -> None:
    """A minimal Debian 12 that trusts whom this machine trusts."""
    if image_exists(BASE):
        return
    with tempfile.TemporaryDirectory(prefix="nnpm-stand-in-") as folder:
        root = Path(folder) / "root"
        subprocess.run(
            ["debootstrap", "--variant=minbase", "--include=ca-certificates", "bookworm", root, debian_mirror()],
            check=True, capture_output=True, timeout=600,
        )  # fmt: skip
        shutil.rmtree(root / "var/cache/apt")
        shutil.rmtree(root / "var/lib/apt/lists")
        (root / "var/cache/apt/archives/partial").mkdir(parents=True)
        (root / "var/lib/apt/lists/partial").mkdir(parents=True)
        (root / "etc/apt/apt.conf.d/99-host").write_text(apt_options())
        if CERTIFICATES.exists():
            shutil.copy(CERTIFICATES, root / CERTIFICATES.relative_to("/"))
        archive = Path(folder) / "root.tar"
        subprocess.run(["tar", "-C", root, "-cf", archive, "."], check=True, timeout=120)
        podman("import", archive, BASE, timeout=120)


def _digest(recipe: Path) -> str:
    content = hashlib.sha256()
    for path in sorted(recipe.iterdir()):
        content.update(path.name.encode() + b"\0" + path.read_bytes())
    return content.hexdigest()[:16]
