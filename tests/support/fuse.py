"""A FUSE file system with one empty folder: a real mount of any kind, for who has to tell kinds apart.

Usage: fuse.py KIND FOLDER. Says "mounted", or "refused" and why; ends when its stdin does.
"""

import ctypes
import os
import select
import struct
import sys

IN_HEADER = struct.Struct("<IIQQIIII")
OUT_HEADER = struct.Struct("<IiQ")
LOOKUP, FORGET, GETATTR, INIT, BATCH_FORGET = 1, 2, 3, 26, 42
ENOENT, ENOSYS = 2, 38
FOLDER_MODE = 0o40700

kind, folder = sys.argv[1:]
device = os.open("/dev/fuse", os.O_RDWR)


def mount() -> int:
    """Return the error number of mounting, 0 for none."""
    options = f"fd={device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
    system = ctypes.CDLL(None, use_errno=True)
    given = (b"ann@host:/far", os.fsencode(folder), kind.encode(), 0, options.encode())
    return ctypes.get_errno() if system.mount(*given) else 0


def answer(opcode: int) -> tuple[int, bytes]:
    """Return the error, negative, and what is said to a request."""
    if opcode == INIT:
        return 0, struct.pack("<IIIIHHIIHHII24x", 7, 31, 65536, 0, 12, 9, 65536, 1, 0, 0, 0, 0)
    if opcode == GETATTR:
        times = (0,) * 6
        return 0, struct.pack("<QII6Q10I", 1, 0, 0, 1, *times[:5], 0, 0, 0, FOLDER_MODE, 2, 0, 0, 0, 512, 0)
    return (-ENOENT if opcode == LOOKUP else -ENOSYS), b""


problem = mount()
sys.stdout.write(f"refused: {os.strerror(problem)}\n" if problem else "mounted\n")
sys.stdout.flush()
while not problem:
    ready, _, _ = select.select([device, sys.stdin], [], [])
    if sys.stdin in ready:
        break
    request = os.read(device, 1 << 17)
    _, opcode, unique, *_ = IN_HEADER.unpack_from(request)
    if opcode not in {FORGET, BATCH_FORGET}:
        error, content = answer(opcode)
        os.write(device, OUT_HEADER.pack(OUT_HEADER.size + len(content), error, unique) + content)
