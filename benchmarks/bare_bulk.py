"""What adding many tasks at once costs at least: encode them, one write, one sync.

``bare_bulk.py LINE COUNT TARGET`` appends COUNT lines like that of the file LINE to the file TARGET.
"""

import gc
import json
import os
import sys
import zlib
from pathlib import Path


def main(line: str, count: str, target: str) -> None:
    """Write the lines to *target*."""
    gc.disable()
    members = json.loads(Path(line).read_bytes())
    del members["crc"]
    encode = json.JSONEncoder(separators=(",", ":")).encode
    last = int(count) - 1
    written = []
    for number in range(int(count)):
        own = {"seq": number + 2, "id": f"bulk-{number:06}", "more": last - number}
        body = encode({**members, **own})[:-1].encode("ascii")
        written.append(b'%b,"crc":"%08x"}\n' % (body, zlib.crc32(body)))
    content = b"".join(written)
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    if os.write(descriptor, content) != len(content):
        raise OSError("the disk took only a part")
    os.fdatasync(descriptor)


if __name__ == "__main__":
    main(*sys.argv[1:])
