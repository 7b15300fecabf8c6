"""What is done to a node's disk on the engine's own machine, inside a helper container that may mount.

`drills.faults.disks` gives it to `python3 -c` as source, so it imports nothing but the standard library. Usage: COMMAND JSON
FILE; the answer, JSON, is in FILE, because Docker may lose what a process prints just before it ends. Status 0: done. 1: failed.
3: cannot be done on this machine, and nothing was changed.

The state of a disk is in its image volume (`state.json`), never in this process: after SIGKILL at any moment `detach` finds
out how far it came. In the order of a drill:

    made       the image holds an empty file system; the node's data was not touched
    attaching  the node's data is copied; it may have been moved aside, with a blank folder in its place
    attached   the image is the truth. Should its mount be gone (the machine was restarted), the node is blank, which no
               topology takes for a primary, until `detach` brings the data back
    copied     the image's content lies beside the node's folder, complete and synced, to be exchanged with it in one step
"""

# Works on descriptors and raw paths, which may be seen through another mount namespace, with system calls that take such.
# ruff: noqa: PTH101, PTH102, PTH103, PTH104, PTH108, PTH112, PTH115, PTH116, PTH118, PTH120, PTH123, PTH208, PTH211
import contextlib
import ctypes
import errno
import fcntl
import json
import os
import re
import shutil
import signal
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

SHUTDOWN = (2 << 30) | (4 << 16) | (ord("X") << 8) | 125
"""EXT4_IOC_SHUTDOWN, _IOR('X', 125, __u32); what `godown` of xfstests sends."""
WITHOUT_LOG = 2
"""EXT4_GOING_FLAGS_NOLOGFLUSH: not even the journal that is in memory reaches the disk, as when the power is cut."""
LOOP_SET_FD, LOOP_CLR_FD, LOOP_SET_STATUS64, LOOP_GET_STATUS64, LOOP_CTL_GET_FREE = 0x4C00, 0x4C01, 0x4C04, 0x4C05, 0x4C82
LOOP_INFO = struct.Struct("=5Q4I64s64s32s2Q")
AUTOCLEAR = 4
OPTIONS = b"barrier=0"
"""A sync need not reach the machine's own disk, whose power nobody cuts: it ends at the file behind the loop device. So another
file system's traffic does not stall the server."""
CLONE_NEWNS = 0x00020000
MS_REC, MS_PRIVATE, MS_NOATIME = 0x4000, 1 << 18, 1024
EXCHANGE, AT_FDCWD = 2, -100
NEEDS_RECOVERY, INCOMPAT_AT = 0x4, 1024 + 0x60
SERVERS = ("redis-server", "valkey-server")
IMAGE, STATE, PLACE = "disk.img", "state.json", "mnt"
KEPT, NEW = "_data.drill-kept", "_data.drill-new"
FILLER, PROBE = ".drill-filler", ".drill-probe"
NOT_DATA = frozenset({"lost+found", FILLER, PROBE})
FREE_SECONDS, STOP_SECONDS = 60.0, 5.0
"""A mount namespace that another program made meanwhile (a build, say) holds every mount until it ends."""
SPARE = 64 << 20

_libc = ctypes.CDLL(None, use_errno=True)


class Failed(Exception):
    """One sentence for the user."""


class Impossible(Failed):
    """This machine cannot do it."""


class Mount(NamedTuple):
    """A line of mountinfo: where, what kind, from which device."""

    at: str
    kind: str
    source: str


def mounts(text: str) -> list[Mount]:
    """All mounts of a mountinfo, the topmost of a place last."""
    found = []
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        words, kind = left.split(), right.split()
        if len(words) > 4 and len(kind) > 1:
            found.append(Mount(words[4].replace("\\040", " "), kind[0], kind[1]))
    return found


def dropped(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """Bytes by which each file is shorter than it was; a file that is gone lost all of them."""
    return {name: size - after.get(name, 0) for name, size in sorted(before.items()) if after.get(name, 0) < size}


def what_is_left(state: dict[str, Any], inode: int) -> str:
    """How a disk that is not mounted (any more) is undone, by its state and the inode of the node's folder.

    `drop`: the node's folder is its own. `put back`: its own folder is beside it. `copy`: the image holds the truth.
    `exchange`: the copy is complete.
    """
    step = state.get("step", "made")
    if step == "made":
        return "drop"
    if step == "attaching":
        return "drop" if inode == state["original"] else "put back"
    if step == "copied":
        return "drop" if inode == state["new"] else "exchange"
    return "copy"


def copy_tree(source: str, target: str) -> int:
    """Copy a folder's content with owners, modes and times; how many bytes. Leaves out what is the drill's own."""
    total = 0
    for entry in sorted(os.scandir(source), key=lambda found: found.name):
        if entry.name in NOT_DATA:
            continue
        to = os.path.join(target, entry.name)
        status = entry.stat(follow_symlinks=False)
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), to)
        elif entry.is_dir(follow_symlinks=False):
            os.mkdir(to)
            total += copy_tree(entry.path, to)
        elif stat.S_ISREG(status.st_mode):
            shutil.copyfile(entry.path, to)
            total += status.st_size
        else:
            continue  # sockets and pipes belong to the process that made them
        os.chown(to, status.st_uid, status.st_gid, follow_symlinks=False)
        shutil.copystat(entry.path, to, follow_symlinks=False)
    own = os.stat(source)
    os.chown(target, own.st_uid, own.st_gid)
    shutil.copystat(source, target)
    return total


def sizes(folder: str) -> dict[str, int]:
    """Size of every file, by its path in the folder. Servers that run replace files at any moment."""
    found = {}
    for place, _, names in os.walk(folder):
        for name in set(names) - NOT_DATA:
            path = os.path.join(place, name)
            with contextlib.suppress(FileNotFoundError):
                found[os.path.relpath(path, folder)] = os.lstat(path).st_size
    return found


def read_state(folder: str) -> dict[str, Any]:
    try:
        with open(os.path.join(folder, STATE), encoding="utf-8") as file:
            data: dict[str, Any] = json.load(file)
            return data
    except FileNotFoundError:
        return {}


def write_state(folder: str, **state: Any) -> None:
    """Whole or not at all, and on the disk when it returns."""
    path = os.path.join(folder, STATE)
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.rename(path + ".new", path)
    sync_folder(folder)


def sync_folder(folder: str) -> None:
    with opened(folder) as fd:
        _check(_libc.syncfs(fd), f"sync {folder}")


def exchange(one: str, other: str) -> None:
    """Give two folders each other's name, in one step."""
    _check(_libc.renameat2(AT_FDCWD, one.encode(), AT_FDCWD, other.encode(), EXCHANGE), f"exchange {one} and {other}")
    sync_folder(os.path.dirname(one))


class opened:
    """An open file or folder, closed again."""

    def __init__(self, path: str, flags: int = os.O_RDONLY) -> None:
        self._fd = os.open(path, flags | os.O_CLOEXEC, 0o600)

    def __enter__(self) -> int:
        return self._fd

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


# --- mounts, on the engine's own machine -----------------------------------------------------------------------------------


def find_engine(path: str) -> int:
    """A process in the engine's mount namespace: the daemon, or the first process; the one that sees `path`."""
    daemons = []
    for word in os.listdir("/proc"):
        if word.isdigit() and word != "1" and _comm(int(word)) == "dockerd":
            daemons.append(int(word))
    for pid in (*daemons, 1):
        if os.path.isdir(f"/proc/{pid}/root{path}"):
            return pid
    raise Impossible(f"the engine's own view of {path} cannot be found from a helper container")


def enter(pid: int) -> None:
    with opened(f"/proc/{pid}/ns/mnt") as fd:
        _check(_libc.setns(fd, CLONE_NEWNS), "enter the engine's mount namespace")
    os.chdir("/")


def privately() -> None:
    """From here on mounts are this process's own and end with it."""
    _check(_libc.unshare(CLONE_NEWNS), "unshare mounts")
    _check(_libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "make mounts private")


def mounted(at: str) -> Mount | None:
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        found = [mount for mount in mounts(file.read()) if mount.at == at]
    return found[-1] if found else None


def backing(device: str) -> tuple[int, int]:
    """Device and inode of the file behind a loop device."""
    with opened(device) as fd:
        info = LOOP_INFO.unpack(fcntl.ioctl(fd, LOOP_GET_STATUS64, bytes(LOOP_INFO.size)))
    return info[0], info[1]


def ours(at: str, folder: str) -> bool:
    """Whether the image of this folder, and nothing else, is mounted at a place. Not a byte is written anywhere else."""
    found = mounted(at)
    if found is None or found.kind != "ext4" or not found.source.startswith("/dev/loop"):
        return False
    image = os.stat(os.path.join(folder, IMAGE))
    return backing(found.source)[1] == image.st_ino and os.stat(at).st_dev == os.stat(found.source).st_rdev


def mount_image(folder: str, at: str) -> str:
    """Mount the image through a loop device that frees itself with the last mount."""
    image = os.path.join(folder, IMAGE)
    with opened(image, os.O_RDWR) as file, opened("/dev/loop-control", os.O_RDWR) as control:
        for _ in range(20):
            device = f"/dev/loop{fcntl.ioctl(control, LOOP_CTL_GET_FREE)}"
            with opened(device, os.O_RDWR) as loop:
                try:
                    fcntl.ioctl(loop, LOOP_SET_FD, file)
                except OSError as error:
                    if error.errno == errno.EBUSY:  # somebody else was faster
                        continue
                    raise
                info = LOOP_INFO.pack(0, 0, 0, 0, 0, 0, 0, 0, AUTOCLEAR, image.encode()[-63:], b"", b"", 0, 0)
                fcntl.ioctl(loop, LOOP_SET_STATUS64, info)
                _check(_libc.mount(device.encode(), at.encode(), b"ext4", MS_NOATIME, OPTIONS), f"mount {image}")
                return device
    raise Failed("no loop device is free")


def unmount(at: str) -> None:
    """Unmount, and wait until the file system is gone: were it still in use elsewhere, mounting it again would show the same
    memory instead of what is on the disk."""
    found = mounted(at)
    if found is None:
        return
    _wait(FREE_SECONDS, lambda: _unmounted(at), f"{at} is still in use")
    _wait(FREE_SECONDS, lambda: _freed(found.source), f"{found.source}, which was mounted at {at}, is still in use")


def _unmounted(at: str) -> bool:
    if _libc.umount2(at.encode(), 0) == 0:
        return True
    number = ctypes.get_errno()
    if number == errno.EBUSY:
        return False
    raise OSError(number, f"unmount {at}: {os.strerror(number)}")


def _freed(device: str) -> bool:
    try:
        backing(device)
    except OSError as error:
        return error.errno in (errno.ENXIO, errno.ENOENT)
    return False


def _wait(seconds: float, look: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + seconds
    while not look():
        if time.monotonic() > deadline:
            raise Failed(f"{otherwise} after {seconds:g} s")
        time.sleep(0.02)


def dead(at: str) -> bool:
    """Whether a file system was shut down: it answers every write with an input/output error."""
    path = os.path.join(at, PROBE)
    try:
        with opened(path, os.O_WRONLY | os.O_CREAT):
            pass
        os.unlink(path)
    except OSError as error:
        if error.errno == errno.EIO:
            return True
        if error.errno != errno.ENOSPC:
            raise
    return False


# --- processes --------------------------------------------------------------------------------------------------------------


def _comm(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return ""


def servers(pid: int) -> Iterator[int]:
    """The servers (and their children) in the process namespace of a container's first process."""
    wanted = os.readlink(f"/proc/{pid}/ns/pid")
    for word in os.listdir("/proc"):
        try:
            if word.isdigit() and _comm(int(word)) in SERVERS and os.readlink(f"/proc/{word}/ns/pid") == wanted:
                yield int(word)
        except OSError:
            continue  # it ended


def stopped(pid: int) -> bool:
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        return file.read().rpartition(")")[2].split()[0] in ("T", "Z")


# --- commands ---------------------------------------------------------------------------------------------------------------


def make(told: dict[str, Any]) -> dict[str, Any]:
    """Make the image, and try on it that a shut-down loses what was not synced and keeps what was. Touches no node."""
    try:
        return _make(told)
    except (OSError, subprocess.SubprocessError) as error:
        raise Impossible(f"a file system on a loop device cannot be had here: {error}") from None


def _make(told: dict[str, Any]) -> dict[str, Any]:
    folder, data = told["image"], told["data"]
    pid = find_engine(folder)
    used, free = _used(f"/proc/{pid}/root{data}"), shutil.disk_usage(f"/proc/{pid}/root{folder}").free
    size = max(told["megabytes"] << 20, 2 * used + SPARE)
    if free < size + 2 * used + SPARE:
        raise Impossible(f"the engine's machine has {free >> 20} MiB free, and a disk for {data} takes {(size + 2 * used) >> 20}")
    image = os.path.join(folder, IMAGE)
    with opened(f"/proc/{pid}/root{image}", os.O_RDWR | os.O_CREAT | os.O_TRUNC) as fd:
        os.ftruncate(fd, size)
    _make_file_system(pid, image)
    enter(pid)
    privately()
    place = os.path.join(folder, PLACE)
    os.makedirs(place, exist_ok=True)
    mount_image(folder, place)
    _try_power_cut(place)
    unmount(place)
    mount_image(folder, place)
    with opened(os.path.join(place, PROBE)) as fd:
        kept = os.read(fd, 100)
    os.unlink(os.path.join(place, PROBE))
    unmount(place)
    if kept != b"synced":
        raise Impossible(f"a power cut on a trial file left {kept!r} instead of what was synced")
    write_state(folder, step="made")
    return {"size": size, "used": used}


def _used(folder: str) -> int:
    return sum(sizes(folder).values())


def _make_file_system(pid: int, image: str) -> None:
    options = ["-q", "-F", "-b", "4096", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"]
    own = shutil.which("mkfs.ext4")
    enter_first: Callable[[], None] | None
    if own:
        command, enter_first = [own, *options, f"/proc/{pid}/root{image}"], None
    else:
        command, enter_first = ["mkfs.ext4", *options, image], lambda: enter(pid)
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    try:
        done = subprocess.run(command, preexec_fn=enter_first, env=environment, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise Impossible("there is no mkfs.ext4, neither in the helper's image nor on the engine's machine") from None
    if done.returncode != 0:
        raise Impossible(f"mkfs.ext4 failed: {done.stderr.strip()}")


def _try_power_cut(place: str) -> None:
    with opened(os.path.join(place, PROBE), os.O_WRONLY | os.O_CREAT | os.O_APPEND) as fd:
        os.write(fd, b"synced")
        os.fsync(fd)
        with opened(place) as folder:
            os.fsync(folder)
        os.write(fd, b" not synced")
        fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", WITHOUT_LOG))


def attach(told: dict[str, Any]) -> dict[str, Any]:
    """Copy the data of a stopped node to the image, put a blank folder in its place, and mount the image over that."""
    folder, data = told["image"], told["data"]
    enter(find_engine(folder))
    if mounted(data) is not None:
        raise Failed(f"something is mounted at {data} already")
    inode = os.stat(data).st_ino
    worker = os.fork()
    if worker == 0:  # the copy is made with mounts of its own, which are gone when it ends, however it ends
        _child(lambda: _copy_in(folder, data))
    _joined(worker, "the copy to the image")
    kept = os.path.join(os.path.dirname(data), KEPT)
    shutil.rmtree(kept, ignore_errors=True)
    os.mkdir(kept)
    own = os.stat(data)
    os.chown(kept, own.st_uid, own.st_gid)
    os.chmod(kept, stat.S_IMODE(own.st_mode))
    write_state(folder, step="attaching", original=inode)
    exchange(data, kept)
    mount_image(folder, data)
    write_state(folder, step="attached", original=inode)
    return {"device": os.stat(data).st_dev}


def _copy_in(folder: str, data: str) -> None:
    privately()
    place = os.path.join(folder, PLACE)
    mount_image(folder, place)
    copy_tree(data, place)
    sync_folder(place)
    unmount(place)


def _child(work: Callable[[], None]) -> None:
    try:
        work()
    except (OSError, Failed) as error:
        print(error, file=sys.stderr, flush=True)
        os._exit(1)
    except BaseException:
        os._exit(1)
    os._exit(0)


def _joined(pid: int, what: str) -> None:
    if os.waitpid(pid, 0)[1] != 0:
        raise Failed(f"{what} failed")


def cut(told: dict[str, Any]) -> dict[str, Any]:
    """Freeze the servers, so that none acknowledges anything any more, then cut the power of their disks."""
    nodes = told["nodes"]
    enter(find_engine(nodes[0]["image"]))
    for node in nodes:
        if not ours(node["data"], node["image"]):
            raise Failed(f"the drill's disk is not at {node['data']}")
    frozen = {node["data"]: sorted(servers(node["pid"])) for node in nodes}
    if not all(frozen.values()):
        raise Failed("no server runs in one of the containers")
    everyone = [pid for pids in frozen.values() for pid in pids]
    for pid in everyone:
        os.kill(pid, signal.SIGSTOP)
    _wait(STOP_SECONDS, lambda: all(stopped(pid) for pid in everyone), "a server is not frozen")
    answer = {}
    for node in nodes:
        data = node["data"]
        before = sizes(data)
        with opened(data) as fd:
            fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", WITHOUT_LOG))
        answer[data] = {"dead": dead(data), "before": before, "frozen": frozen[data]}
    return answer


def revive(told: dict[str, Any]) -> dict[str, Any]:
    """Power is back: mount the disk anew, which replays its journal. Does nothing on a disk that is not dead."""
    folder, data = told["image"], told["data"]
    enter(find_engine(folder))
    if not ours(data, folder):
        raise Failed(f"the drill's disk is not at {data}")
    if not dead(data):
        return {"revived": False}
    unmount(data)
    with opened(os.path.join(folder, IMAGE)) as fd:
        flags = struct.unpack("<I", os.pread(fd, 4, INCOMPAT_AT))[0]
    mount_image(folder, data)
    return {"revived": True, "replayed": bool(flags & NEEDS_RECOVERY), "after": sizes(data), "device": os.stat(data).st_dev}


def fill(told: dict[str, Any]) -> dict[str, Any]:
    """Take every free block of the drill's own disk, and of nothing else."""
    folder, data = told["image"], told["data"]
    enter(find_engine(folder))
    if not ours(data, folder):
        raise Failed(f"what is mounted at {data} is not the drill's disk, so it is not filled")
    device, taken = os.stat(data).st_dev, 0
    with opened(os.path.join(data, FILLER), os.O_WRONLY | os.O_CREAT) as fd:
        if os.fstat(fd).st_dev != device:
            raise Failed(f"{data} changed at this moment")
        space = os.fstatvfs(fd)
        chunk = space.f_bsize * max(space.f_bavail, 1)
        taken = os.fstat(fd).st_size
        while chunk >= space.f_bsize:
            try:
                os.posix_fallocate(fd, taken, chunk)
                taken += chunk
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                chunk = chunk // 2 // space.f_bsize * space.f_bsize
    return {"taken": taken, **_space(data)}


def _space(data: str) -> dict[str, int]:
    space = os.statvfs(data)
    return {"free": space.f_bavail * space.f_bsize, "size": space.f_blocks * space.f_frsize}


def space(told: dict[str, Any]) -> dict[str, Any]:
    """How full the drill's disk is."""
    enter(find_engine(told["image"]))
    if not ours(told["data"], told["image"]):
        raise Failed(f"the drill's disk is not at {told['data']}")
    return _space(told["data"])


def empty(told: dict[str, Any]) -> dict[str, Any]:
    """Give the blocks back; whether any had been taken."""
    enter(find_engine(told["image"]))
    if not ours(told["data"], told["image"]):
        return {"emptied": False}
    try:
        os.unlink(os.path.join(told["data"], FILLER))
    except FileNotFoundError:
        return {"emptied": False}
    return {"emptied": True, **_space(told["data"])}


def holes(told: dict[str, Any]) -> dict[str, Any]:
    """Runs of zeros between the records of the append-only files, by file: a server refuses to start on them."""
    enter(find_engine(told["image"]))
    if not ours(told["data"], told["image"]):
        raise Failed(f"the drill's disk is not at {told['data']}")
    found = {}
    for name in sizes(told["data"]):
        if name.endswith(".aof"):
            count = 0
            with contextlib.suppress(FileNotFoundError), open(os.path.join(told["data"], name), "rb") as file:
                count = zeros(file.read())
            if count:
                found[name.rpartition("/")[2]] = count
    return {"holes": found}


def zeros(log: bytes) -> int:
    """Zero bytes that stand where a record should begin. Values may hold zeros, also after a line's end: a record must follow."""
    return sum(len(run[1]) for run in re.finditer(rb"\r\n(\0+)(?=[*#]|\Z)", log))


def detach(told: dict[str, Any]) -> dict[str, Any]:
    """Give a stopped node its own folder back, with the content that the image has now. May be repeated after SIGKILL."""
    folder, data = told["image"], told["data"]
    enter(find_engine(folder))
    if mounted(data) is not None and not ours(data, folder):
        raise Failed(f"what is mounted at {data} is not the drill's disk")
    unmount(data)
    state = read_state(folder)
    beside = os.path.dirname(data)
    kept, new = os.path.join(beside, KEPT), os.path.join(beside, NEW)
    step = what_is_left(state, os.stat(data).st_ino)
    if step == "put back":
        exchange(data, kept)
    if step == "copy":
        shutil.rmtree(new, ignore_errors=True)
        os.mkdir(new)
        worker = os.fork()
        if worker == 0:
            _child(lambda: _copy_out(folder, new))
        _joined(worker, "the copy from the image")
        sync_folder(new)
        write_state(folder, step="copied", original=state.get("original"), new=os.stat(new).st_ino)
    if step in ("copy", "exchange"):
        exchange(data, new)
    for left in (new, kept):
        shutil.rmtree(left, ignore_errors=True)
    return {"done": step, "bytes": _used(data)}


def _copy_out(folder: str, new: str) -> None:
    privately()
    place = os.path.join(folder, PLACE)
    mount_image(folder, place)
    copy_tree(place, new)
    unmount(place)


COMMANDS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "make": make, "attach": attach, "cut": cut, "revive": revive, "fill": fill, "space": space, "empty": empty,
    "holes": holes, "detach": detach,
}  # fmt: skip


def main(arguments: list[str]) -> int:
    command, told, place = arguments
    with open(place, "w") as answer:  # opened first: a command may leave this mount namespace
        try:
            json.dump(COMMANDS[command](json.loads(told)), answer)
        except Impossible as error:
            json.dump({"error": str(error)}, answer)
            return 3
        except (OSError, Failed) as error:
            json.dump({"error": str(error)}, answer)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
