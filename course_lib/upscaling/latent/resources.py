"""How much memory and disk is free, for models that may be too large for a machine."""

import shutil
from pathlib import Path

import psutil
import torch

CGROUPS, OWN_CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
# Names of the files with a limit and with what is in use, and of the part of that which the
# kernel gives back when asked: those of the second version of cgroups and of the first.
SECOND = "memory.max", "memory.current", "inactive_file"
FIRST = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"


def free_memory() -> int:
    """Return the bytes of main memory that are free, in the machine and in its container."""
    return min([psutil.virtual_memory().available, *container_rooms()])


def free_on_card() -> int | None:
    """Return the free bytes of the graphics card that PyTorch uses, or ``None`` without one."""
    return torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else None


def free_disk(folder: Path) -> int:
    """Return the free bytes where a folder is, or will be once it is made."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def container_rooms(mount: Path = CGROUPS, own: Path = OWN_CGROUPS) -> list[int]:
    """Return what each memory limit of Linux's control groups leaves to this process, in bytes."""
    if not own.exists():
        return []
    rooms = []
    for line in own.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            top, names = mount, SECOND
        elif "memory" in controllers.split(","):
            top, names = mount / "memory", FIRST
        else:
            continue
        place = top / path.lstrip("/")
        levels = [level for level in (place, *place.parents) if level.is_relative_to(top)]
        rooms += [room for level in levels if (room := _room(level, *names)) is not None]
    return rooms


def _room(level: Path, limit: str, used: str, reclaimable: str) -> int | None:
    try:
        most = (level / limit).read_text().strip()
        if most == "max":
            return None
        now = int((level / used).read_text())
        counted = dict(line.split() for line in (level / "memory.stat").read_text().splitlines())
    except OSError:  # the root of the groups has no limit, and a container may not show its own
        return None
    return max(0, int(most) - now + int(counted.get(reclaimable, 0)))
